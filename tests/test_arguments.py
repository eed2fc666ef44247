import pytest

from sdesam.arguments import nearest, require_count, require_nonnegative, require_positive, require_steps


@pytest.mark.parametrize("value", ["0.1", None, True])
def test_numbers_only(value):
    with pytest.raises(TypeError, match="eta must be a number > 0"):
        require_positive("eta", value, "it is the learning rate")


@pytest.mark.parametrize("value", [0, -1, 0.0, -1e-300, float("nan"), float("inf")])
def test_positive(value):
    with pytest.raises(ValueError, match="eta must be .*> 0, got .*: it is the learning rate"):
        require_positive("eta", value, "it is the learning rate")


def test_zero_is_not_negative_and_integers_are_numbers():
    require_nonnegative("rho", 0, "it is the ascent radius")
    require_positive("eta", 1, "it is the learning rate")
    with pytest.raises(ValueError, match="rho must be >= 0, got -0.1"):
        require_nonnegative("rho", -0.1, "it is the ascent radius")


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (1.0, TypeError), ("2", TypeError), (True, TypeError)])
def test_counts(value, error):
    with pytest.raises(error, match="steps must be"):
        require_count("steps", value, least=1, why="a run needs a step")


def test_nearest_suggests():
    assert nearest("samm", ["sam", "usam", "sgd"]).endswith("Did you mean 'sam'?")
    assert nearest("xyz", ["sam"]) == "choose one of sam."


def test_a_horizon_is_a_whole_number_of_steps():
    assert [require_steps(horizon, 0.1, "") for horizon in (0.1, 0.3, 0.7, 100)] == [1, 3, 7, 1000]
    for horizon, said in (
        (0.17, "got 0.17 = 1.7 steps of 0.1: they would differ"),
        (0.04, "0.4 steps"),
        (100.001, "1000.01 steps"),
        (1e-12, "e-11"),
    ):
        with pytest.raises(ValueError, match="horizon must be a whole number of steps of every eta") as refused:
            require_steps(horizon, 0.1, "they would differ")
        assert said in str(refused.value)
