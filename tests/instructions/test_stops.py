"""Whether a full stop belongs to the word before it."""

import pytest

from trimtab.instructions import sentences


@pytest.mark.parametrize(
    "text",
    [
        "Papandreou je izjavio kako je 2014. godina ciljna.",
        "Se on Saaristo (engl. Archipelago, ukr. Архіпелаг) Alaskassa.",
        "У 2016-му виробили 71,3 тис. тонн овочів.",
        "Sie wohnt in der Abt. Chirurgie und Pflege.",
        "Dr. Lee moved to the U.S. Supreme Court in 1999.",
        "Zdarzyło się to ok. 30 lat temu.",
        "Alexandrië lag daar vanaf ongeveer 330 v. Chr.",
        "Det koster 40 kr. for hver påbegyndt time.",
        "Han bor på Storg. 5 i Aarhus.",
        "Locuim pe str. Mare 7.",
        "Beim 1. FC Köln war das sein 2. Versuch.",
        "Az 1. Kerületben van, a 2. Világháború óta.",
        "We close on Thurs. Nov. 27 and on Weds. Dec. 3.",
        "Sie kommt am Do. 5. Sept. in die Stadthalle.",
        "Le bât. C est à gauche.",
    ],
)
def test_it_belongs_to_its_word(text: str) -> None:
    assert sentences.split(text) == [text]


@pytest.mark.parametrize(
    "text",
    [
        "They moved to the U.S. Rents were high there.",
        "It costs $799. iPad is cheaper.",
        "Write it in Java. numpy is for Python.",
        "This is the best of art. People love it.",
        "The answer is no. Everyone agreed with it.",
        "Han kom fra Aalborg. 5 personer var med.",
        "I am 30. Bob is 25.",
        "It is made of DNA. It is long.",
        "He works Mon. to Thurs. On Fridays he rests.",
        "Ha scritto una card. Il biglietto era bello.",
    ],
)
def test_it_ends_a_sentence(text: str) -> None:
    assert len(sentences.split(text)) == 2
