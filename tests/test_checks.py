"""Wording of refusals."""
import pytest

from tfdepth.checks import UserError, check_choice


def test_an_empty_choice_is_seen():
    with pytest.raises(UserError) as caught:
        check_choice("--crop", "kbb", ["", "kb", "nyu"])
    assert str(caught.value) == ("--crop must be one of '' (empty), kb, nyu; got 'kbb'. "
                                 "Did you mean 'kb'?")
