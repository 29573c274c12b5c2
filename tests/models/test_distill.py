from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from torch import nn
from torch.nn import functional as F

from bireal_plugin.errors import InputError
from bireal_plugin.models import DistilledClassifier
from bireal_plugin.training.recipe import stage_model

CONFIGS = Path(__file__).parents[2] / 'configs' / 'baselines'
TINY = dict(
    type='BiRealResNet',
    depth=18,
    in_channels=1,
    base_channels=4,
    num_stages=2,
    strides=(1, 2),
    dilations=(1, 1),
    out_indices=(1,),
    stem='cifar',
)
STUDENT = dict(type='BiRealClassifier', backbone=TINY, num_classes=3)
TEACHER = dict(type='BiRealClassifier', backbone={**TINY, 'activation': 'relu', 'weights': 'real'}, num_classes=3)


@pytest.fixture
def checkpoint(tmp_path):
    """A teacher whose BatchNorm statistics are not those it would measure, so that training mode would show."""
    torch.manual_seed(1)
    teacher = MODELS.build(TEACHER)
    for name, buffer in teacher.named_buffers():
        if name.endswith('running_mean'):
            buffer.normal_()
    path = tmp_path / 'teacher.pth'
    torch.save(dict(state_dict=teacher.state_dict()), path)
    return str(path)


@pytest.fixture
def distilled(checkpoint):
    def build(**options):
        torch.manual_seed(0)
        config = {**STUDENT, 'type': 'DistilledClassifier', 'teacher': TEACHER, 'teacher_checkpoint': checkpoint}
        return MODELS.build({**config, **options})

    return build


@pytest.fixture
def batch():
    torch.manual_seed(2)
    return torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 1])


@pytest.mark.parametrize('label_weight', [0.0, 0.3, 1.0])
def test_loss_is_the_cross_entropy_of_the_teachers_and_students_probabilities(
    distilled, checkpoint, batch, label_weight
):
    model = distilled(label_weight=label_weight, label_smoothing=0.1).eval()
    teacher = MODELS.build(TEACHER).eval()
    teacher.load_state_dict(torch.load(checkpoint, weights_only=True)['state_dict'])
    images, labels = batch
    log_p = F.log_softmax(model(images), -1)
    from_teacher = -(teacher(images).softmax(-1) * log_p).sum(1).mean()
    from_labels = (-0.9 * log_p[range(4), labels] - 0.1 * log_p.mean(-1)).mean()
    loss, _ = model.parse_losses(model(images, labels, mode='loss'))
    torch.testing.assert_close(loss, (1 - label_weight) * from_teacher + label_weight * from_labels)


def test_gradient_is_the_difference_of_probabilities(distilled, batch):
    model = distilled().eval()
    model.fc.bias.grad = None
    model(batch[0], mode='loss')['distillation_loss'].backward()
    student, teacher = model(batch[0]).softmax(-1), model.teacher(batch[0]).softmax(-1)
    torch.testing.assert_close(model.fc.bias.grad, (student - teacher).mean(0))


def test_the_teacher_is_no_part_of_the_model_and_training_leaves_it_alone(distilled, checkpoint, batch):
    model = distilled(label_weight=0.5, data_preprocessor=dict(type='ImagePreprocessor'))
    plain = MODELS.build(STUDENT)
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in plain.named_parameters()]
    wrapper = OptimWrapper(torch.optim.Adam(model.parameters(), lr=1e-2))
    model.train()
    data = dict(inputs=torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8), labels=batch[1])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    log = model.train_step(data, wrapper)
    assert set(log) == {'loss', 'distillation_loss', 'label_loss'}
    assert not torch.equal(model.fc.weight, before['fc.weight'])
    assert not model.teacher.training
    assert not any(p.requires_grad for p in model.teacher.parameters())
    stored = torch.load(checkpoint, weights_only=True)['state_dict']
    assert all(torch.equal(stored[key], value) for key, value in model.teacher.state_dict().items())


def test_a_distilled_checkpoint_loads_into_a_plain_classifier(distilled, batch):
    model, plain = distilled().eval(), MODELS.build(STUDENT).eval()
    plain.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(plain(batch[0]), model(batch[0]))


def test_the_loss_falls(distilled, batch):
    model = distilled()
    target = model.teacher(batch[0]).softmax(-1)
    entropy = -(target * target.log()).sum(1).mean()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    excess = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = model(batch[0], mode='loss')['distillation_loss']
        loss.backward()
        optimizer.step()
        excess.append((loss - entropy).item())  # the Kullback-Leibler divergence from the teacher
    assert min(excess) > -1e-6
    assert excess[-1] < 0.5 * excess[0]


def test_the_teacher_follows_to_types_and_devices(distilled):
    model = distilled().double()
    assert model.teacher.fc.weight.dtype == torch.float64
    assert model.to('meta').teacher.fc.weight.is_meta


IMAGENETTE = '../bireal_r18_imagenette_distilled'


@pytest.mark.parametrize('name', ['react_distilled_r18_fashion_mnist', 'react_distilled_r18_imagenet', IMAGENETTE])
def test_the_configs_distil_in_the_binary_stage_alone(name, tmp_path):
    config = Config.fromfile(CONFIGS / f'{name}.py')
    model = config.stages.binary.model
    with torch.device('meta'):
        teacher = MODELS.build(model.teacher)
    torch.save(dict(state_dict={k: torch.zeros(v.shape) for k, v in teacher.state_dict().items()}), tmp_path / 't.pth')
    model.teacher_checkpoint = str(tmp_path / 't.pth')
    with torch.device('meta'):
        built = {name: stage_model(config, name) for name in config.stages}
    assert [name for name, net in built.items() if isinstance(net, DistilledClassifier)] == ['binary']
    assert len({tuple(net.state_dict()) for net in built.values()}) == 1
    assert built['binary'].teacher.fc.out_features == built['binary'].fc.out_features


@pytest.mark.parametrize(
    ('name', 'recipe_name'),
    [('react_distilled_r18_fashion_mnist', 'bireal_r18_fashion_mnist'), (IMAGENETTE, 'bireal_r18_imagenette')],
)
def test_the_teacher_is_the_recipes_real_network(name, recipe_name):
    config, recipe = Config.fromfile(CONFIGS / f'{name}.py'), Config.fromfile(CONFIGS.parent / f'{recipe_name}.py')
    with torch.device('meta'):
        teacher, real = MODELS.build(config.stages.binary.model.teacher), stage_model(recipe, 'float')
    assert [(k, v.shape) for k, v in teacher.state_dict().items()] == [
        (k, v.shape) for k, v in real.state_dict().items()
    ]
    epochs = recipe.stages.float.train_cfg.max_epochs
    assert config.stages.binary.model.teacher_checkpoint.endswith(f'{recipe_name}/float/epoch_{epochs}.pth')


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (dict(label_weight=1.5), 'label_weight=1.5'),
        (dict(teacher_checkpoint=None), 'a BiRealClassifier as teacher needs teacher_checkpoint'),
        (dict(teacher_checkpoint='no/such.pth'), 'checkpoint no/such.pth does not exist'),
        (dict(teacher={**TEACHER, 'num_classes': 4}), 'of another shape \\(fc.weight, fc.bias\\)'),
    ],
)
def test_wrong_options_are_told(distilled, options, sentence):
    with pytest.raises(InputError, match=sentence):
        distilled(**options)


def test_code_in_a_checkpoint_is_not_run(distilled, tmp_path):
    torch.save(dict(state_dict={}, extra=nn.Linear(1, 1)), tmp_path / 'unsafe.pth')
    with pytest.raises(InputError, match='could run any code'):
        distilled(teacher_checkpoint=str(tmp_path / 'unsafe.pth'))


def test_wrong_calls_are_told(distilled, batch):
    with pytest.raises(InputError, match='DistilledClassifier needs labels'):
        distilled(label_weight=0.5)(batch[0], mode='loss')
    with pytest.raises(InputError, match='the teacher has 3 classes and the student 5'):
        distilled(num_classes=5)(batch[0], mode='loss')
