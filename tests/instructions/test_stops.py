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
    ],
)
def test_it_ends_a_sentence(text: str) -> None:
    assert len(sentences.split(text)) == 2
