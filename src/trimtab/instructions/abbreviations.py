"""Abbreviations of all languages together, folded to small letters and without the last full stop."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# No sentence ends here, whatever follows: something belongs to it.
TITLES = _words(
    """
    dr mr mrs ms mx prof rev hon fr st ste mt ft gen col lt capt cpt cmdr maj sgt cpl pvt adm gov sen
    hr hrn frl dipl m mme mlle mgr sr sra srta sres sras dra dña d.ª ud uds vd vds
    sig.ra dott dott.ssa avv geom dhr mevr drs г-н г-жа проф акад доц св гр тов
    δρ κ κα καθ डॉ श्री प्रो श्रीमती ডা ড ডঃ திரு டாக்டர் ดร นพ
    """
)
"""No sentence ends here, whatever follows: a name belongs to it."""

ANY = _words(
    """
    e.g i.e eg ie cf vs viz approx resp esp incl excl rep pres
    etc et.al al inc ltd co corp llc plc bros jr esq dept est ave blvd rd tbsp tsp oz lb lbs sq
    z.b z.t d.h u.a u.ä s.o s.u i.d.r o.ä m.e ca bzw bspw evtl ggf inkl exkl zzgl sog vgl max min tel geb gest
    gmbh mio mrd std jh jhd hl kgl fa ing
    mm env ex p.ex ej p.ej av avda lic ee uu arq núm sig pag pagg
    bijv o.a m.b.t i.v.m
    см т.е т.к т.н т.о напр им ул просп пер пл руб коп тыс млн млрд гг вв стр ок соч
    """
)
"""A sentence ends here only before a capital letter of a word that starts sentences."""

OFTEN_LAST = _words("etc usw usf u.s.w ecc a.m p.m др пр т.д т.п и.т.д aso osv enz")
"""A sentence ends here before any capital letter, but for one of `AFTER_TIMES`."""

AFTER_TIMES = _words(
    "monday tuesday wednesday thursday friday saturday sunday est edt cst cdt mst pst pdt gmt utc cet eastern pacific"
)
BEFORE_NUMBERS = _words(
    """
    no nos nr num n fig figs eq eqs sec ch chap vol vols p pp pg art par op ed eds v
    abb tab kap bd s abs art aufl
    pág págs cap vol
    рис с стр гл т табл п ст д кв №
    """
)
DATES = _words(
    "mon tue tues wed thu thur fri "
    "jan feb mar apr jun jul aug sep sept oct okt nov dec dez janv févr avr juil déc ene abr ago dic"
)
BEFORE_ORDINALS = _words("am im vom zum der die das den dem des seit beim zur ins")
AFTER_ORDINALS = _words(
    """
    januar jänner februar märz april mai juni juli august september oktober november dezember jahrhundert jahrhunderts
    jahrtausend stock etage klasse weltkrieg geburtstag platz auflage kapitel
    """
)
BEFORE_LETTERS = _words(
    """
    plan vitamin hepatitis option group grade class type part point step section team appendix answer letter choice
    hepatit gruppe teil plan punkt abschnitt groupe partie grupo parte
    """
)
NAMES_WITH_A_MARK = _words("yahoo jeopardy wham panic oklahoma ahoy")
STARTERS = _words(
    """
    the a an it he she they we i you this that these those there here his her their our its my your but and so then
    however also if when while what why who how where in on at as by for from with after before because although some
    many most all no not now today please let yes once both each one such do does did is are was were can could will
    das die der den ein eine er sie es wir ich ihr du man dies diese dieser dort hier da dann aber und doch so auch wenn
    als was wer wie wo warum nach vor mit bei im am für ja nein heute bitte sein seine ihre mein meine nur noch
    le la les un une il elle ils elles on nous je tu vous ce cette ces c'est mais et donc puis alors aussi quand que qui
    où comment pourquoi dans en pour avec après avant oui non son sa ses mon ma leur
    el los las una él ella ellos yo nosotros esto esta este estos pero y entonces luego también cuando qué quién cómo
    dónde por para con después antes sí su sus mi
    он она оно они мы я ты вы это эта этот эти но и а затем потом также если когда что кто как где почему в на по для
    с после да нет его её их мой наш
    o os as um uma ele ela eles eu nós isto esta mas e então quando como onde para com depois sim não seu sua meu
    il lo gli uno lui lei loro io noi questo questa ma poi anche quando che chi come dove perché per con dopo suo sua
    """
)
