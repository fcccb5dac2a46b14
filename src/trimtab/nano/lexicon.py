"""The words of nano's world in English, Spanish and French.

Everything here is data. A value that a fact can take (an adjective, a place, a colour, ...) is a `Term`: the same
meaning in the three languages, in the form in which the sentence templates of `world.py` need it.
"""

from __future__ import annotations

from typing import NamedTuple

LANGUAGES = ("en", "es", "fr")


class Term(NamedTuple):
    """One meaning in the three languages."""

    en: str
    es: str
    fr: str


class Topic(NamedTuple):
    """A class of entities: its noun, and "this <noun>" where a language cannot simply say "it"."""

    name: str
    noun: Term
    this: Term


def _topic(en: str, es: str, fr: str, fr_this: str) -> Topic:
    return Topic(en, Term(en, es, fr), Term("it", f"este {es}", f"{fr_this} {fr}"))


# Masculine nouns in Spanish and French throughout, so that every adjective has one form.
TOPICS = (
    _topic("animal", "animal", "animal", "cet"),
    _topic("village", "pueblo", "village", "ce"),
    _topic("dish", "plato", "plat", "ce"),
    _topic("sport", "deporte", "sport", "ce"),
    _topic("craft", "oficio", "métier", "ce"),
    _topic("instrument", "instrumento", "instrument", "cet"),
    _topic("tree", "árbol", "arbre", "cet"),
    _topic("vehicle", "vehículo", "véhicule", "ce"),
    _topic("game", "juego", "jeu", "ce"),
    _topic("festival", "festival", "festival", "ce"),
    _topic("tool", "utensilio", "outil", "cet"),
    _topic("metal", "metal", "métal", "ce"),
)

NAME_STARTS = (
    "Thorn Bram Kettle Win Hazel Stone Marl Black Green Wood Ash Bright "
    "Cold Dun Fair Gold Harrow Lang Moss North Pem Red Silver Wither"
).split()
NAME_ENDS = "wick ley brook ford stead holm worth mere ridge dale".split()

REGIONS = (
    "Tarland Belmont Corvale Dasmoor Fenmark Garland Holmside Kirkmoor "
    "Lowmark Midvale Norland Penmoor Ravensea Southmark Tidewell Westland"
).split()

YEARS = (
    "1204 1287 1313 1346 1391 1402 1458 1479 1516 1533 1567 1598 "
    "1621 1654 1689 1705 1742 1776 1810 1839 1863 1894 1917 1925"
).split()

# English adjectives begin with a consonant sound, so that the article is always "a".
ADJECTIVES = (
    Term("quiet", "tranquilo", "tranquille"),
    Term("warm", "cálido", "chaud"),
    Term("small", "pequeño", "petit"),
    Term("famous", "famoso", "célèbre"),
    Term("gentle", "suave", "doux"),
    Term("strange", "extraño", "étrange"),
    Term("simple", "sencillo", "simple"),
    Term("bright", "brillante", "brillant"),
    Term("strong", "fuerte", "fort"),
    Term("rare", "raro", "rare"),
    Term("big", "grande", "grand"),
    Term("light", "ligero", "léger"),
    Term("happy", "alegre", "joyeux"),
    Term("wild", "salvaje", "sauvage"),
    Term("noble", "noble", "noble"),
    Term("modern", "moderno", "moderne"),
)

PLACES = (
    Term("forest", "el bosque", "la forêt"),
    Term("valley", "el valle", "la vallée"),
    Term("harbor", "el puerto", "le port"),
    Term("market", "el mercado", "le marché"),
    Term("desert", "el desierto", "le désert"),
    Term("mountain", "la montaña", "la montagne"),
    Term("garden", "el jardín", "le jardin"),
    Term("school", "la escuela", "l'école"),
    Term("river", "el río", "la rivière"),
    Term("island", "la isla", "l'île"),
    Term("city", "la ciudad", "la ville"),
    Term("field", "el campo", "le champ"),
    Term("temple", "el templo", "le temple"),
    Term("castle", "el castillo", "le château"),
    Term("library", "la biblioteca", "la bibliothèque"),
    Term("cave", "la cueva", "la grotte"),
)

SEASONS = (
    Term("In spring", "En primavera", "Au printemps"),
    Term("In summer", "En verano", "En été"),
    Term("In autumn", "En otoño", "En automne"),
    Term("In winter", "En invierno", "En hiver"),
)

COLORS = (
    Term("green", "verde", "vert"),
    Term("red", "rojo", "rouge"),
    Term("blue", "azul", "bleu"),
    Term("white", "blanco", "blanc"),
    Term("black", "negro", "noir"),
    Term("yellow", "amarillo", "jaune"),
    Term("gray", "gris", "gris"),
    Term("golden", "dorado", "doré"),
    Term("orange", "naranja", "orange"),
    Term("pink", "rosa", "rose"),
    Term("brown", "marrón", "brun"),
    Term("purple", "morado", "violet"),
)

THINGS = (
    Term("water", "agua", "l'eau"),
    Term("salt", "sal", "le sel"),
    Term("stone", "piedra", "la pierre"),
    Term("bread", "pan", "le pain"),
    Term("music", "música", "la musique"),
    Term("paper", "papel", "le papier"),
    Term("wood", "madera", "le bois"),
    Term("glass", "vidrio", "le verre"),
    Term("wind", "viento", "le vent"),
    Term("silver", "plata", "l'argent"),
    Term("cotton", "algodón", "le coton"),
    Term("honey", "miel", "le miel"),
    Term("wool", "lana", "la laine"),
    Term("fire", "fuego", "le feu"),
    Term("sand", "arena", "le sable"),
    Term("milk", "leche", "le lait"),
    Term("oil", "aceite", "l'huile"),
    Term("tea", "té", "le thé"),
)

PEOPLE = (
    Term("farmers", "granjeros", "fermiers"),
    Term("sailors", "marineros", "marins"),
    Term("bakers", "panaderos", "boulangers"),
    Term("teachers", "maestros", "professeurs"),
    Term("nurses", "enfermeros", "infirmiers"),
    Term("painters", "pintores", "peintres"),
    Term("singers", "cantantes", "chanteurs"),
    Term("dancers", "bailarines", "danseurs"),
    Term("pilots", "pilotos", "pilotes"),
    Term("doctors", "médicos", "médecins"),
    Term("hunters", "cazadores", "chasseurs"),
    Term("students", "estudiantes", "étudiants"),
    Term("soldiers", "soldados", "soldats"),
    Term("poets", "poetas", "poètes"),
    Term("children", "niños", "enfants"),
    Term("travelers", "viajeros", "voyageurs"),
)

TIMES = (
    Term("at dawn", "al amanecer", "à l'aube"),
    Term("at noon", "al mediodía", "à midi"),
    Term("at night", "por la noche", "la nuit"),
    Term("in the evening", "por la tarde", "le soir"),
    Term("in the morning", "por la mañana", "le matin"),
    Term("all day", "todo el día", "toute la journée"),
)
