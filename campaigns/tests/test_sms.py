import pytest

from campaigns.sms import measure


@pytest.mark.parametrize(
    ("text", "encoding", "units", "parts"),
    [
        ("", "gsm7", 0, 0),
        ("a" * 160, "gsm7", 160, 1),
        ("a" * 161, "gsm7", 161, 2),
        ("è" * 160, "gsm7", 160, 1),
        ("€" * 80, "gsm7", 160, 1),
        ("€" * 81, "gsm7", 162, 2),
        ("a" * 306, "gsm7", 306, 2),
        ("a" * 307, "gsm7", 307, 3),
        ("a" * 152 + "€" + "a" * 152, "gsm7", 306, 3),  # The euro sign does not fit in the first part.
        ("ç" * 70, "ucs2", 70, 1),
        ("ç" * 71, "ucs2", 71, 2),
        ("😀" * 35, "ucs2", 70, 1),
        ("ç" * 66 + "😀" + "ç" * 66, "ucs2", 134, 3),
    ],
)
def test_a_text_is_counted_as_the_network_counts_it(text, encoding, units, parts):
    size = measure(text)
    assert (size.encoding, size.units, size.parts) == (encoding, units, parts)
