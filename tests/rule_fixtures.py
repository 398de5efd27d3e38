"""Texts that follow each rule, texts that do not, and texts that a careless check gets wrong."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fixture:
    """`tricky` holds (text, follows strictly, why it is tricky)."""

    passing: tuple[str, ...]
    failing: tuple[str, ...]
    tricky: tuple[tuple[str, bool, str], ...]


_PLAIN = "The train leaves at noon. Bring your ticket, and be early. It is a long way to the coast."
_LONG = " ".join(f"Line {n} says a little more about the coast and the sea." for n in range(1, 8))

FIXTURES: dict[str, Fixture] = {
    "lowercase": Fixture(
        passing=(
            "the train leaves at noon, so be early.",
            "élan vital is a phrase of bergson, 1907.",
            "i like tea\nand cake & much more",
        ),
        failing=(
            "The train leaves at noon, so be early.",
            "the train leaves from Paris every morning.",
            "ALL OF IT IS IN CAPITALS HERE",
        ),
        tricky=(
            ("42 + 42 = 84", False, "no letters at all are not lowercase"),
            ("the straße is long, said the man with 3 dogs.", True, "ß has no single capital"),
            ("我们在海边住了两个星期，每天都游泳。", False, "letters without case say nothing"),
        ),
    ),
    "uppercase": Fixture(
        passing=(
            "THE TRAIN LEAVES AT NOON, SO BE EARLY.",
            "ÉLAN VITAL IS A PHRASE OF BERGSON!",
            "GO TO GATE 7 AND WAIT THERE.",
        ),
        failing=(
            "THE TRAIN LEAVES AT NOON, So be early.",
            "the train leaves at noon",
            "The Train Leaves At Noon Each Day",
        ),
        tricky=(
            ("USA", False, "three letters are too few to tell"),
            ("DIE STRAßE IST LANG UND SEHR BREIT HIER.", False, "ß is a small letter"),
        ),
    ),
    "capital_words": Fixture(
        passing=("You MUST come NOW or NEVER.", "NASA and ESA met with JAXA today.", "STOP! LOOK! LISTEN! Then cross."),
        failing=(_PLAIN, "You MUST come NOW or later.", "Every Word Here Starts With A Capital."),
        tricky=(
            ("I think I know what I want, and a plan A is there.", False, "I and A are words of one letter"),
            ("The CDs, DVDs and PCs are here.", False, "a small s is in each of them"),
        ),
    ),
    "no_comma": Fixture(
        passing=("The train leaves at noon.", "Bread; milk; eggs and tea.", "One. Two! Three?"),
        failing=(_PLAIN, "Bread, milk and eggs.", "In 2019, it rained."),
        tricky=(
            ("It costs 1,000 euros.", False, "a comma in a number is a comma"),
            ("苹果、梨，还有茶。", False, "Chinese has commas of its own"),
            ("He said ‚no‘ and left.", True, "a low quotation mark only looks like one"),
        ),
    ),
    "ends_with_question": Fixture(
        passing=("It leaves at noon. Will you come?", "Why?", "Tea or coffee?  \n"),
        failing=(_PLAIN, "Will you come? I hope so.", ""),
        tricky=(
            ('She asked "Will you come?"', False, "the quotation ends after the question"),
            ("你来吗？", True, "the full-width question mark is one"),
        ),
    ),
    "exclamations": Fixture(
        passing=("Stop! Look! Listen!", "Wow!!! What a day.", "快！快！快！"),
        failing=(_PLAIN, "Stop! Look!", "¡Hola! ¡Adiós!"),
        tricky=(
            ("if (a != b && c != d) return !e;", True, "marks count wherever they stand"),
            ("¡¡¡Hola", False, "inverted marks do not count"),
        ),
    ),
    "no_full_stop": Fixture(
        passing=("The train leaves at noon", "Stop! Look! Listen!", "tea; coffee\ncake"),
        failing=(_PLAIN, "Wait...", "我们走吧。"),
        tricky=(
            ("It weighs 3.5 kilograms", True, "a decimal point is no full stop"),
            ("Use a tool, e.g. a hammer", False, "abbreviations have full stops"),
            ("Chapter 3.", False, "a stop behind a digit ends the text"),
        ),
    ),
    "bullets": Fixture(
        passing=("- tea\n- cake\n- milk", "Buy:\n* tea\n* cake\n* milk", "  - a b\n  - c d\n  * e f\nThat is all."),
        failing=(_PLAIN, "- tea\n- cake", "• tea\n• cake\n• milk"),
        tricky=(
            ("**tea**\n**cake**\n**milk**", False, "bold words are no bullets"),
            ("---\ntea\n---\ncake\n---", False, "rulers are no bullets"),
            ("-5 is less than\n-4 is less than\n-3", False, "minus signs are no bullets"),
        ),
    ),
    "numbered_list": Fixture(
        passing=(
            "1. tea\n2. cake\n3. milk",
            "Do this:\n1. Boil.\n2. Pour.\n3. Wait.\n4. Drink.",
            " 1. a\n\n 2. b\n\n 3. c",
        ),
        failing=(_PLAIN, "1. tea\n2. cake", "1. tea\n3. cake\n2. milk"),
        tricky=(
            ("It was 1. tea, 2. cake and 3. milk.", False, "the numbers stand inside a line"),
            ("1. tea\n1. cake\n1. milk", False, "the numbers do not count up"),
            ("2. before\n1. tea\n2. cake\n3. milk", True, "a list of three stands further down"),
        ),
    ),
    "separated_paragraphs": Fixture(
        passing=("One.\n***\nTwo.", "One.\n\n***\n\nTwo.\n\n***\n\nThree.", "One.\n  ***  \nTwo."),
        failing=(_PLAIN, "One.\n\nTwo.", "One.\n---\nTwo."),
        tricky=(
            ("This is ***bold*** text\nand more.", False, "asterisks inside a line"),
            ("***\nOnly one paragraph.", False, "nothing stands before the line"),
            ("One.\n***\n***\nTwo.", False, "nothing stands between the lines"),
        ),
    ),
    "title": Fixture(
        passing=(
            "<<The coast>>\n\nIt is long.",
            "  <<Tea>>  \nBoil water.",
            "Read this.\n<<A title of 3 words>>\nAnd more.",
        ),
        failing=(_PLAIN, "<The coast>\nIt is long.", "# The coast\nIt is long."),
        tricky=(
            ("x = 1 << 3 >> 2\n", False, "shift operators are no title"),
            ("<<>>\nIt is long.", False, "an empty title is none"),
            ("<<123>>\nIt is long.", False, "numbers alone name nothing"),
        ),
    ),
    "quoted": Fixture(
        passing=('"The train leaves at noon."', '  "It is long.\nAnd wide."\n', "“The train leaves at noon.”"),
        failing=(_PLAIN, '"The train leaves at noon.', "'The train leaves at noon.'"),
        tricky=(
            ('"Yes," she said, "it leaves at noon."', False, "two quotations, not one"),
            ('""', False, "nothing is quoted"),
            ('"', False, "one mark cannot open and close"),
        ),
    ),
    "json": Fixture(
        passing=('{"answer": "noon"}', '["tea", "cake"]', '\n{"a": {"b": [1, 2.5, null, true]}}\n'),
        failing=(_PLAIN, '{"answer": "noon"', "{'answer': 'noon'}"),
        tricky=(
            ('```json\n{"answer": "noon"}\n```', False, "a code fence is let pass only loosely"),
            ("42", False, "a bare number is valid JSON, and so is many a plain answer"),
            ('"noon"', False, "so is a quoted text"),
            ('{"a": NaN}', False, "NaN is no JSON, though Python reads it"),
        ),
    ),
    "includes_words": Fixture(
        passing=(
            "The garden sleeps in winter.",
            "WINTER came to the Garden!",
            "In winter, a garden; in summer, the sea.",
        ),
        failing=(_PLAIN, "The garden sleeps.", "Winter is long."),
        tricky=(
            ("The gardens sleep through midwinter.", False, "they only occur inside other words"),
            ("garden_winter", False, "one word"),
        ),
    ),
    "avoids_words": Fixture(
        passing=(_PLAIN, "It is quite long.", "Every delivery came in real time."),
        failing=("It is very long.", "Really, it is long.", "VERY long!"),
        tricky=(
            ("The bravery of the unreally born.", True, "the letters occur inside other words"),
            ("It is ve-ry long.", True, "a split word is another word"),
        ),
    ),
    "few_words": Fixture(
        passing=(_PLAIN, "Noon.", " ".join(["word"] * 50)),
        failing=(_LONG, " ".join(["word"] * 51), "tea\n" * 60),
        tricky=(
            (" ".join(["well-known"] * 50), True, "a hyphen joins words"),
            ("- " * 80 + "tea", True, "marks are no words"),
            ("字" * 51, False, "Chinese has no spaces"),
        ),
    ),
    "few_sentences": Fixture(
        passing=(_PLAIN, "It leaves at noon.", "Will you come? Yes! Good"),
        failing=(_LONG, "He said no. She left. I stayed. We slept.", "a b\nc d\ne f\ng h"),
        tricky=(
            (
                "Dr. Smith paid 3.50 euros to Mr. Lee. It was J. R. who saw it. They left.",
                True,
                "abbreviations, decimals and initials",
            ),
            ("Wait... what?! No way!!! Fine.", False, "runs of marks end one sentence each, but there are four"),
            ("It is so. And so. And so", True, "the last has no mark, and they are three"),
        ),
    ),
    "first_words": Fixture(
        passing=("Here is what I know: it is long.", "\n Here is what I know: tea.", "Here is what I know:\n- tea"),
        failing=(_PLAIN, "Well. Here is what I know: tea.", "Here is what I knew: tea."),
        tricky=(
            ("here is what I know: tea.", False, "exactly these words"),
            ('"Here is what I know: tea."', False, "a mark comes first"),
        ),
    ),
    "last_sentence": Fixture(
        passing=(_PLAIN + " I hope this helps.", "Tea.\nI hope this helps.\n", "I hope this helps."),
        failing=(_PLAIN, "I hope this helps. Goodbye.", "I hope this helps"),
        tricky=(
            ("So did Ali hope this helps.", False, "other words end alike"),
            ("xI hope this helps.", False, "not a sentence of its own"),
        ),
    ),
    "postscript": Fixture(
        passing=(
            "It is long.\n\nP.S. Bring tea.",
            "It is long.\nP.S.: Bring tea.",
            "It is long.\n\nPS: Bring tea.\nAnd cake.",
        ),
        failing=(_PLAIN, "P.S. Bring tea.\n\nIt is long.", "It is long.\n\nP.S."),
        tricky=(
            ("It runs on the console.\n\nPS5 is fast.", False, "a console, not a postscript"),
            ("P.S. Bring tea.", False, "nothing stands before it"),
            ("It is long. P.S. Bring tea.", False, "not a paragraph of its own"),
        ),
    ),
    "hashtags": Fixture(
        passing=("#tea #cake #milk #sun", "Good day! #a1 #b2 #c3 #d4 #e5", "So #one, and #two; #three and #four."),
        failing=(_PLAIN, "#tea #cake #milk", "tea cake milk sun"),
        tricky=(
            ("# One\n## Two\n### Three\n#### Four", False, "headings have a space"),
            ("#1 #2 #3 #4", False, "numbers are no tags"),
            ("&#38; &#39; &#x27; &#x28; a#b c#d e#f g#h", False, "entities and words with a sign inside"),
        ),
    ),
    "emoji": Fixture(
        passing=("It is sunny 🌞", "I ❤️ tea", "Well done 👩‍🚀!"),
        failing=(_PLAIN, ":-) it is sunny", "It is sunny ★"),
        tricky=(
            ("Call #1 at 10 * 5", False, "digits and signs can be parts of emoji"),
            ("© 2024 ™", False, "text signs without the emoji form"),
            ("Done ✅", True, "a sign that is an emoji by itself"),
        ),
    ),
    "iso_date": Fixture(
        passing=("It opened on 2019-03-01.", "2024-02-29 was a leap day", "From 1999-12-31 to 2000-01-01"),
        failing=(_PLAIN, "It opened on 1 March 2019.", "It opened on 01-03-2019."),
        tricky=(
            ("It opened on 2023-02-30.", False, "there is no such day"),
            ("Call 555-2019-03-011 now.", False, "part of a longer number"),
            ("It began at 2019-03-01T10:00.", True, "a time may follow"),
            ("٢٠١٩-٠٣-٠١", False, "digits of another script"),
        ),
    ),
    "language": Fixture(
        passing=(
            "Hace calor y sol esta mañana, pero por la tarde habrá nubes.",
            "La tienda abre a las nueve de la mañana y cierra a las seis.",
            "¿Por qué el cielo es azul? Porque el aire dispersa la luz del sol.",
        ),
        failing=(
            _PLAIN,
            "O tempo está bom hoje e as crianças brincam no parque com a bola.",
            "Il fait chaud et beau ce matin, mais des nuages vont arriver.",
        ),
        tricky=(
            (
                "The weather is warm in the south of the country today. La tienda abre a las nueve de la mañana y cierra a las "
                "seis de la tarde, y los domingos está cerrada, pero la panadería de al lado está abierta.",
                False,
                "on the whole it is Spanish, its first sentence is not",
            ),
            ("Sí.", False, "too short to tell"),
            (
                "Hace calor y sol esta mañana, pero habrá nubes. Take an umbrella with you if you are going out tonight.",
                False,
                "the second sentence is in English",
            ),
            ("Hace calor. I will answer in Spanish from now on, as you have asked me to do.", False, "it only says so"),
        ),
    ),
}
