"""Verdicts of a verification: which loss of accuracy, which agreement, which distance from training's record pass."""

from pathlib import Path

import pytest

from bireal_plugin.errors import InputError
from bireal_plugin.shipping.limits import Artefact, Demands, Verification, mistakes


def found(precision='f32', **measured):
    return Verification(Artefact(Path('net'), 'openvino', precision), None, None, **{'images': 10_000, **measured})


def judged(precision, lost, *, agreement=0.5, demands=None, **measured):
    """Sentences on an artefact that loses so many points of the network's 83.19 %."""
    accuracies = dict(reference_top1=0.8319, top1=0.8319 - lost / 100)
    return mistakes(found(precision, agreement=agreement, **accuracies, **measured), demands or Demands())


@pytest.mark.parametrize(('precision', 'limit'), [('f32', 0.5), ('f16', 0.5), ('bf16', 0.5), ('int8', 1.5)])
def test_with_labels_the_loss_of_accuracy_decides_and_the_agreement_does_not(precision, limit):
    assert judged(precision, limit - 0.01, agreement=0.89) == []
    (sentence,) = judged(precision, limit + 0.01, agreement=1.0)
    assert 'and the network has 83.19%' in sentence
    assert f'{limit:g} points may be lost with real layers in {precision}' in sentence


def test_a_gain_is_no_loss():
    assert judged('bf16', -3.0) == []


@pytest.mark.parametrize(('precision', 'limit'), [('f32', 0.995), ('f16', 0.99), ('bf16', 0.95), ('int8', 0.95)])
def test_without_labels_the_agreement_decides(precision, limit):
    assert mistakes(found(precision, agreement=limit), Demands()) == []
    (sentence,) = mistakes(found(precision, agreement=limit - 0.01, images=200), Demands())
    assert sentence == f'{limit - 0.01:.2%} of 200 images have the class of the reference ({limit:.2%} must)'


@pytest.mark.parametrize(('precision', 'limit'), [('f16', 0.99), ('bf16', 0.95), ('int8', 0.95)])
def test_without_labels_the_images_decide_that_the_network_is_sure_of(precision, limit):
    measured = dict(agreement=0.88, sure_images=160)
    assert mistakes(found(precision, sure_agreement=limit, **measured), Demands()) == []
    (sentence,) = mistakes(found(precision, sure_agreement=limit - 0.01, **measured), Demands())
    assert sentence.startswith(f'{limit - 0.01:.2%} of the 160 images that the network is sure of have the class')
    (sentence,) = mistakes(found(precision, sure_agreement=1.0, **measured), Demands(min_agreement=0.9))
    assert sentence == '88.00% of 10000 images have the class of the reference (90.00% must)'


def test_in_float32_every_image_decides():
    (sentence,) = mistakes(found('f32', agreement=0.99, sure_images=160, sure_agreement=1.0), Demands())
    assert sentence == '99.00% of 10000 images have the class of the reference (99.50% must)'


def test_demands_replace_the_usual_limits():
    assert judged('int8', 0.3, demands=Demands(max_loss=0.2)) != []
    assert judged('bf16', 0.7, demands=Demands(max_loss=1.0)) == []
    (sentence,) = judged('bf16', 0.0, agreement=0.9, demands=Demands(min_agreement=0.95))
    assert '(95.00% must)' in sentence


@pytest.mark.parametrize(
    'demand',
    [dict(min_agreement=95), dict(min_agreement=-0.1), dict(max_loss=-1), dict(max_loss=float('nan'))],
    ids=str,
)
def test_demands_that_nothing_or_everything_would_meet_are_refused(demand):
    with pytest.raises(InputError, match=r'^--(min-agreement is a number from 0 to 1|max-loss is .* to 100), not'):
        Demands(**demand)


def test_a_demand_that_cannot_be_judged_is_not_met():
    classes, maps, crashed = found(agreement=1.0), found(images=0, feature_error=0.0), found(images=0)
    loss, agreement = Demands(max_loss=1), Demands(min_agreement=0.9)
    assert [len(mistakes(row, loss)) for row in (classes, maps, crashed)] == [1, 1, 0]
    assert [len(mistakes(row, agreement)) for row in (classes, maps, crashed)] == [0, 1, 0]
    assert 'there are no labels that --max-loss' in mistakes(classes, loss)[0]


def test_a_sample_may_miss_by_twice_its_error_and_all_images_may_not():
    """256 images of 10 000, 9 % of which change between right and wrong: an error of 1.875 points."""
    error = (0.09 / 256) ** 0.5
    sample = dict(images=256, loss_error=error, demands=Demands(population=10_000))
    allowed = 0.5 + 2 * 100 * error * (1 - 256 / 10_000) ** 0.5
    assert judged('bf16', allowed - 0.01, **sample) == []
    (sentence,) = judged('bf16', allowed + 0.01, **sample)
    assert f'0.5 points and {allowed - 0.5:.2f} of sampling error may be lost' in sentence
    everything = dict(images=256, loss_error=error, demands=Demands(population=256))
    assert judged('bf16', 0.49, **everything) == []
    assert judged('bf16', 0.51, **everything) != []


@pytest.mark.parametrize(
    ('recorded', 'population', 'passes'),
    [(0.836, 10_000, True), (0.838, 10_000, False), (0.80, 10_000, True), (0.838, 40_000, True), (0.90, 40_000, False)],
)
def test_the_network_itself_is_held_against_the_record_of_its_training(recorded, population, passes):
    """0.5 points below are allowed; of a quarter of the images also twice their error, here 0.66 points."""
    sentences = judged('f32', 0.0, demands=Demands(recorded=recorded, population=population))
    assert (sentences == []) == passes
    if not passes:
        assert f'the network itself has 83.19% on 10000 images, and training recorded {recorded:.2%}' in sentences[0]


def test_nan_is_never_within_a_limit():
    nan = float('nan')
    assert len(mistakes(found(agreement=nan), Demands())) == 1
    assert len(mistakes(found(agreement=1.0, top1=nan, reference_top1=0.5), Demands())) == 1
    assert len(mistakes(found(feature_error=nan), Demands())) == 1
