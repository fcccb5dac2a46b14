"""What a reader knows of abbreviations beyond that they are some, in small letters and without the last full stop.

Whether a name follows, or a number, or the end of the sentence. They are those of all languages together; an
abbreviation of which no more is known than that it is one is here only where the lists of `lexicon` lack it.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# No sentence ends here, whatever follows: something belongs to it.
TITLES = _words(
    """
    dr mr mrs ms mx prof rev hon fr st ste mt ft gen col lt capt cpt cmdr maj sgt cpl pvt adm gov sen
    hr hrn frl dipl m mme mlle mgr sr sra srta sres sras dra dña d.ª ud uds vd vds
    sig.ra dott dott.ssa avv geom dhr mevr drs г-н г-жа проф акад доц св гр тов
    profa exma exmo eng sigg sig.na prof.ssa mgr inż ing dipl.-ing judr mudr phdr lic özv ifj
    h.m.s u.s.s
    tp ths jl jln yth bpk sdr skt os nám вул ул бул просп гр-н ген
    δρ αγ κ κα καθ डॉ श्री प्रो श्रीमती डा पं स्व रा ড ডঃ ডা মো திரு திருமதி டாக்டர் பேரா డా శ్రీ ಡಾ ಶ್ರೀ ഡോ ડૉ શ્રી ਡਾ
    ดร นพ พญ ผศ รศ ศ
    """
)
"""No sentence ends here, whatever follows: a name belongs to it."""

INTRODUCING = _words(
    """
    d.w.z e.g i.e eg ie cf vs viz approx resp esp incl excl
    z.b d.h u.ä ca bzw bspw evtl ggf inkl exkl zzgl vgl max insb einschl ausschl bzgl
    p.ex p.ej ej cfr bijv o.a m.b.t blz zgn bl.a t.ex f.eks m.a.o
    p.es π.χ ე.ი m.in geb szül roz
    т.е напр им ок ad.es esim tj tzn tzw tzv ok np např popř resp kupř cca t.j npr pl örn bkz δηλ βλ dn
    """
)
"""No sentence ends here, whatever follows: they introduce it."""

TITLES_OF = {
    **dict.fromkeys(("card", "mons"), ("it", "es")),
    **dict.fromkeys(("cav", "comm", "on"), ("it",)),
    **dict.fromkeys(("dl", "dlui", "dna", "dnei"), ("ro",)),
    **dict.fromkeys(("gs", "ts", "tp"), ("vi",)),
    "bd": ("fr", "ro"),
}
"""As `TITLES`, in these languages alone; in capitals they are something else, such as DNA."""

STREETS = _words("str bd bld blvd blv bul cad sok mah pza")
"""No sentence ends here where what follows is numbered, as in "Cad. No. 5"."""

CAPITALISED = _words("pza av sta sto exa ilmo ilma mons pe mag abg kard insp ksiądz gral hna hno sór")
"""No sentence ends here where it has a capital and a name follows."""

UNITS = _words(
    "km kg mg cm ml cl kb mb gb tb hz khz mhz ghz kw kwh hp mph km/h psst brr hmm shh tv шт кг км мл"
)
"""A sentence may end here before any capital letter: what is measured in them stands last as often as not."""

UNITS_AFTER_NUMBERS = _words("mm dl m hr hrs yr yrs wk wks sem min lb lbs oz ft yd mi")
"""As `UNITS`, where a number stands before them; abbreviations of something else where none does."""

ANY = _words(
    """
    rep et.al al inc ltd co corp bros jr est tbsp tsp lbs tel ე.ი dr.med dr.phil dr.jur dr.rer rer.nat med.dent
    med.vet gmbh mio mrd fa sig pagg т.о изд смт govt pkwy bes jmd etw gez städt tgl monatl str teléf qqch qqn
    dott.ri v.le c.so p.zza pça mln ul zł pkt św.p płd nám č klo kec kab მაგ იხ anh durchschn niederl spez übers
    vorm zit südl nördl östl westl amerik ziff vors dép hôp préf vx qté izda lám pral pte sgto stgo tít urb capp cpv
    figg naz prec trav exa bs ts afz eerw inl inz plm secr gł jęz rtm uw im poř přibl абз б-ка ж-д ин-т искл мин-во
    temp tabl förl hons bât ét mah blv русск сут уп ун-т утв ф-т
    """
)
"""A sentence ends here only before a capital letter of a word that starts sentences."""

PAIRS = frozenset(("ad es", "per es", "por ex", "por ej", "std dev"))
"""The last two words where these are one abbreviation of `INTRODUCING`, though its last part alone is none."""

AFTER_COMMAS = _words("mis ex es ej np mj esp min")
"""Of `ANY` where a comma or a bracket stands before them; words of their own elsewhere."""

OFTEN_LAST = _words(
    """
    a.d b.c c.e b.c.e ph.d m.sc b.sc m.b.a
    etc usw usf u.s.w ecc a.m p.m др пр ін т.д т.п и.т.д aso osv enz m.m itd itp atd apod atď stb vb jne dll dsb dst
    κ.λπ κ.ά κ.τ.λ κλπ v.v u.v.m u.dgl o.dgl
    """
)
"""A sentence ends here before any capital letter, but for one of `AFTER_TIMES`."""

AFTER_TIMES = _words(
    "monday tuesday wednesday thursday friday saturday sunday est edt cst cdt mst pst pdt gmt utc cet eastern "
    "pacific hons"
)
BEFORE_TIMES = _words(
    """
    at on by in around about since until till before after from
    um am im seit bis gegen ab à en vers dès depuis avant a hacia desde hasta em às alle nel dal
    в к с до около после у о об від до біля през към w od do po przed o v ve od do kl om sinds rond
    """
)
"""What a time at the beginning of a sentence begins with."""

BEFORE_NUMBERS = _words(
    """
    apt rm az urt rn n° no nos nr num n fig figs eq eqs sec sect ch chap vol vols p pp pg art par op ed eds v
    abb tab kap bd s abs art aufl
    pág págs cap vol chap
    kl klo kb em dn tgl hlm blz hfst poz rys godz čl obr č čís sz yy
    रु कृ पृ क्र रू দফা পৃ
    рис с стр гл т табл п ст д кв оф буд корп разд год хв №
    σελ αρ κεφ εικ
    """
)
DATES = _words(
    "thurs lun mar mer gio ven sab dom mån tis ons tors fre lör sön mon tue tues wed weds thu thur fri "
    "jan feb mar apr jun jul aug sep sept oct okt nov dec dez janv févr avr juil déc ene abr ago dic"
)
_WEEKDAYS = {
    "cs": "po út st čt pá so ne",
    "da": "man tirs ons tors fre lør søn",
    "de": "mo di mi do fr sa so",
    "en": "mon tue tues wed weds thu thur thurs fri sat sun",
    "fi": "ma ti ke to pe la su",
    "nl": "ma di wo do vr za zo",
    "no": "man tirs tir ons tors tor fre lør søn",
    "pl": "pon wt śr czw pt sob niedz",
    "pt": "seg ter qua qui sex sáb dom",
    "ro": "lun mar mie joi vin sâm dum",
    "sv": "mån tis ons tors fre lör sön",
}
WEEKDAYS = {
    day: tuple(language for language, days in _WEEKDAYS.items() if day in days.split())
    for day in _words(" ".join(_WEEKDAYS.values()))
}
"""The languages of each, where a day of a month follows; many are words of their own."""

ORDINALS = frozenset("cs da de et fi hr hu is lb lv nb no pl sk sl sr tr".split())
"""Languages that write an ordinal with a full stop."""

BEFORE_ORDINALS = _words(
    """
    am im vom zum der die das den dem des seit beim zur ins
    sein seine seinem seinen seiner seines ihr ihre ihrem ihren ihrer ihres
    mein meine meinem meinen meiner unser unsere unserem unseren unserer
    """
)
AFTER_ORDINALS = _words(
    """
    januar jänner februar märz april mai juni juli august september oktober november dezember jahrhundert jahrhunderts
    jahrtausend jahr tag mal stock etage klasse weltkrieg geburtstag platz auflage kapitel
    január február március április május június július augusztus szeptember október november december évi év
    világháború világháborút világháborúban kerület kerületben kerületi
    světová světové světovou světovej svetová svetovej dünya lig ligde cadde sokak yüzyıl
    ledna února března dubna května června července srpna září října listopadu prosince
    januára februára marca apríla mája júna júla augusta septembra októbra novembra decembra
    siječnja veljače ožujka travnja svibnja lipnja srpnja kolovoza rujna listopada studenoga prosinca
    mars marts maj oktober desember godine godini godinu leta aastal aasta gada gadā metų
    """
)
BEFORE_LETTERS = _words(
    """
    plan vitamin hepatitis option group grade class type part point step section team appendix answer letter choice
    hepatit gruppe teil plan punkt abschnitt groupe partie grupo parte
    war guerra guerre phase stage version act scene chapter tier table figure chapitre capítulo kapitel fase
    """
)
AFTER_LETTERS = _words("let option options answer choice please thank thanks people yes no")
"""Words that begin a sentence after a letter, beside function words, and are no names."""

PARTICLES = _words("de del della di da dos das du el la le los van von der den ten ter al ben bin ibn o' d'")
"""Words that names begin with, though they are function words."""

SAID = tuple(
    "said asked replied answered shouted yelled cried called whispered murmured muttered screamed exclaimed thought "
    "told wondered added begged repeated sighed".split()
)
"""What follows speech and "I"."""

NAMES_WITH_A_MARK = _words("yahoo jeopardy wham panic oklahoma ahoy")
# What opens a German clause or phrase that is no sentence yet.
GERMAN_OPENERS = _words(
    """
    weil wenn dass da ob als während obwohl damit falls bevor nachdem sobald sofern wo
    in im an am auf aus bei beim für gegen mit nach ohne über um unter von vom vor zu zum zur zwischen durch wegen
    """
)
GERMAN_LINKS = _words(
    "und oder sowie der die das den dem des ein eine einen einem einer eines auch alle viele manche sowohl"
)
