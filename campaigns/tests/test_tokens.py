import random

import pytest

from campaigns import tokens


def test_a_token_opens_what_it_was_made_for():
    token = tokens.sign(tokens.CLICK, 123456, 7)
    assert tokens.read(tokens.CLICK, token) == [123456, 7]


def test_a_token_of_another_purpose_is_refused():
    with pytest.raises(tokens.ForgedToken):
        tokens.read(tokens.UNSUBSCRIBE, tokens.sign(tokens.CLICK, 123))


def test_no_altered_token_is_accepted():
    chance = random.Random(5)
    alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
    token = tokens.sign(tokens.CLICK, 123456, 7)
    for _ in range(5000):
        place = chance.randrange(len(token))
        forged = token[:place] + chance.choice(alphabet) + token[place + 1 :]
        if forged != token:
            with pytest.raises(tokens.ForgedToken):
                tokens.read(tokens.CLICK, forged)


@pytest.mark.parametrize("token", ["", "-", "x", "a-b", "é" * 40, "1-7-" + "A" * 16, "\0" * 20])
def test_rubbish_is_refused(token):
    with pytest.raises(tokens.ForgedToken):
        tokens.read(tokens.CLICK, token)


def test_links_already_sent_survive_a_new_secret(settings):
    token = tokens.sign(tokens.UNSUBSCRIBE, 9)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another secret that is long enough to be one"
    assert tokens.read(tokens.UNSUBSCRIBE, token) == [9]
