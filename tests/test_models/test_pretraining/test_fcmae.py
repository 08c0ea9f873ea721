"""FCMAE against the reference and by hand: loss, gradients, reconstruction, MMEngine's entry points, transfer."""

import pytest
import torch
from helpers import reference
from helpers.models import (
    ARCH,
    BLOCK_KEYS,
    CASES,
    backend_cases,
    build_backbone,
    build_fcmae,
    case,
    double_weights,
    error,
    every_fast_backend,
    gradients,
    pixels,
)
from mmengine.optim import OptimWrapper

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-11}


def fcmae_case(name, dtype=torch.float32, backend='auto', **kwargs):
    arch, images, mask = case(name, dtype)
    backbone = dict(sparse_backend=backend)
    return build_fcmae(arch, in_channels=images.shape[1], backbone=backbone, **kwargs).to(dtype), images, mask


def loss_and_gradients(model, images, mask):
    model.zero_grad()
    loss = model.loss(images, mask=mask)['loss']
    loss.backward()
    return loss.detach(), {name: grad.clone() for name, grad in gradients(model).items()}


def flat(grads):
    return torch.cat([grad.flatten() for grad in grads.values()])


# ---- loss


@pytest.mark.parametrize(
    ('backend', 'name', 'norm_pix_loss', 'dtype'),
    backend_cases(*((norm_pix_loss, dtype) for norm_pix_loss in (True, False) for dtype in TOLERANCE)),
)
def test_loss_and_all_gradients_equal_the_reference(dtype, norm_pix_loss, name, backend):
    model, images, mask = fcmae_case(name, dtype, backend, norm_pix_loss=norm_pix_loss, decoder_depth=2)
    weights = double_weights(model)
    expected, _ = reference.fcmae(weights, images.double(), mask, norm_pix_loss)
    expected.backward()

    outputs = model.loss(images, mask=mask)
    assert list(outputs) == ['loss']
    assert outputs['loss'].shape == ()
    loss, grads = loss_and_gradients(model, images, mask)
    assert error(loss, expected) < TOLERANCE[dtype]
    assert set(grads) == set(weights)
    for key, grad in grads.items():
        assert weights[key].grad.norm() > 0
        assert error(grad, weights[key].grad) < TOLERANCE[dtype], key


def constant_prediction(norm_pix_loss, bias):
    """A model that predicts ``bias``, (row, column, channel) within the patch, whatever it is shown."""
    model = build_fcmae(in_channels=2, norm_pix_loss=norm_pix_loss)
    model.pred.weight.data.zero_()
    model.pred.bias.data.copy_(bias)
    return model


def test_target_order_by_hand():
    """The pixel of row r, column c, channel k is 100 r + c + 0.5 k; the prediction lists them in that order."""
    bias = torch.tensor([100 * r + c + 0.5 * k for r in range(32) for c in range(32) for k in range(2)])
    rows, columns, channels = torch.arange(32.0), torch.arange(32.0), torch.arange(2.0)
    patch = 100 * rows.view(1, 32, 1) + columns.view(1, 1, 32) + 0.5 * channels.view(2, 1, 1)
    images = patch.repeat(1, 2, 3).unsqueeze(0)
    mask = torch.tensor([[[True, False, True], [False, True, True]]])
    model = constant_prediction(False, bias)
    assert model.loss(images, mask=mask)['loss'] == 0
    assert torch.equal(model.predict(images, mask=mask), images)
    assert torch.equal(model.patchify(images), bias.expand(1, 6, -1))
    assert model.loss(images.transpose(2, 3)[..., :64, :64], mask=mask[..., :2])['loss'] > 0


def test_patches_are_numbered_row_by_row():
    model = build_fcmae()
    images = torch.arange(6.0).view(1, 1, 2, 3).repeat_interleave(32, 2).repeat_interleave(32, 3).expand(1, 3, 64, 96)
    assert model.patchify(images)[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5]
    noise = torch.randn(2, 3, 64, 96)
    assert torch.equal(model.unpatchify(model.patchify(noise), noise), noise)


def test_loss_is_the_mean_over_removed_patches_only():
    """Patches hold the constants 1 to 8 and the prediction is 0: the loss is the mean of the removed squares."""
    model = constant_prediction(False, torch.zeros(2048))
    values = torch.arange(1.0, 9.0).view(2, 1, 2, 2)
    images = values.repeat_interleave(32, 2).repeat_interleave(32, 3).repeat(1, 2, 1, 1)
    mask = torch.tensor([[[True, False], [False, True]], [[False, True], [True, False]]])
    assert model.loss(images, mask=mask)['loss'].item() == pytest.approx((1 + 16 + 36 + 49) / 4)
    assert model.reconstruction_error(images, mask).tolist() == [[1, 16], [36, 49]]
    images[~pixels(mask, images)] = 1e4
    assert model.loss(images, mask=mask)['loss'].item() == pytest.approx((1 + 16 + 36 + 49) / 4)


def test_normalised_target_by_hand():
    """Half of the pixels 1, half 3: mean 2, unbiased variance n/(n-1) with n = 2048, and a prediction of 0."""
    model = constant_prediction(True, torch.zeros(2048))
    images = torch.ones(1, 2, 32, 64)
    images[:, 1] = 3
    mask = torch.tensor([[[True, False]]])
    expected = 1 / (2048 / 2047 + 1e-6)
    assert model.loss(images, mask=mask)['loss'].item() == pytest.approx(expected, rel=1e-6)
    flat_patch = torch.full((1, 2, 32, 64), 0.7)
    assert model.loss(flat_patch, mask=mask)['loss'].item() == pytest.approx(0, abs=1e-6)


@every_fast_backend
def test_a_sample_does_not_depend_on_its_batch(backend):
    model, images, mask = fcmae_case('wide, 4 channels', torch.float64, backend)
    together = model.reconstruction_error(images, mask)
    assert together.shape == (3, 5)
    for i in range(3):
        alone = model.reconstruction_error(images[i : i + 1], mask[i : i + 1])
        assert error(alone[0], together[i]) < 1e-11


@every_fast_backend
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_is_close_to_fp32(dtype, backend):
    model, images, mask = fcmae_case('square', backend=backend)
    dense, _, _ = fcmae_case('square', backend='dense')
    expected, expected_grads = loss_and_gradients(model, images, mask)
    with torch.autocast('cpu', dtype):
        loss, grads = loss_and_gradients(model, images, mask)
        dense_loss, dense_grads = loss_and_gradients(dense, images, mask)
    assert loss.dtype == torch.float32
    assert error(loss, expected) < 2e-2
    assert error(loss, dense_loss) < 2e-2
    assert all(grad.isfinite().all() for grad in grads.values())
    assert error(flat(grads), flat(expected_grads)) < 2e-2
    assert error(flat(grads), flat(dense_grads)) < 2e-2


def test_loss_of_a_model_in_bfloat16_is_taken_in_fp32():
    model, images, mask = fcmae_case('square', torch.bfloat16)
    assert model.loss(images, mask=mask)['loss'].dtype == torch.float32


def test_activation_checkpointing_changes_nothing():
    _, images, mask = case('square', torch.float32)
    results = []
    for with_cp in (False, True):
        model = build_fcmae(backbone=dict(with_cp=with_cp, drop_path_rate=0.5)).train()
        torch.manual_seed(0)
        results.append(loss_and_gradients(model, images, mask))
    (loss, grads), (cp_loss, cp_grads) = results
    assert torch.equal(loss, cp_loss)
    for key, grad in grads.items():
        assert torch.equal(cp_grads[key], grad), key


# ---- reconstruction and modes


@every_fast_backend
@pytest.mark.parametrize('norm_pix_loss', [True, False])
@pytest.mark.parametrize('name', CASES)
def test_predict_equals_the_reference(name, norm_pix_loss, backend):
    model, images, mask = fcmae_case(name, backend=backend, norm_pix_loss=norm_pix_loss)
    images = 3 * images + 1
    removed = pixels(mask, images)
    _, expected = reference.fcmae(double_weights(model), images.double(), mask, norm_pix_loss)
    actual = model.predict(images, mask=mask)
    assert not actual.requires_grad
    assert torch.equal(actual[~removed], images[~removed]), 'visible patches as they are'
    assert error(actual[removed], expected[removed]) < 2e-5


def test_modes():
    model, images, mask = fcmae_case('square')
    assert torch.equal(model(images, mode='loss', mask=mask)['loss'], model.loss(images, mask=mask)['loss'])
    assert torch.equal(model(images, mode='predict', mask=mask), model.predict(images, mask=mask))
    (features,) = model(images)
    assert torch.equal(features, model.backbone(images)[-1])
    assert torch.equal(model(images, mode='tensor', mask=mask)[0], model.forward_encoder(images, mask))
    with pytest.raises(ValueError, match=r"mode must be 'loss', 'predict' or 'tensor', got 'train'"):
        model(images, mode='train')


def test_a_mask_is_drawn_where_none_is_given():
    model, images, _ = fcmae_case('square', mask_ratio=0.7)
    torch.manual_seed(5)
    mask = model.random_mask(images)
    assert (~mask).flatten(1).sum(1).tolist() == [2, 2], '9 * 0.3 = 2.7, rounded down'
    for run in (lambda **kw: model.loss(images, **kw)['loss'], lambda **kw: model.predict(images, **kw)):
        torch.manual_seed(5)
        drawn = run()
        assert torch.equal(drawn, run(mask=mask))
        assert not torch.equal(drawn, run()), 'another one the next time'


# ---- MMEngine

PREPROCESSOR = dict(type='ImgDataPreprocessor', mean=[100.0, 110.0, 120.0], std=[50.0, 60.0, 70.0])


def raw_batch():
    generator = torch.Generator().manual_seed(3)
    return dict(inputs=[torch.randint(0, 256, (3, 64, 64), generator=generator, dtype=torch.uint8) for _ in range(2)])


def normalised(batch):
    mean, std = (torch.tensor(PREPROCESSOR[key], dtype=torch.float64).view(3, 1, 1) for key in ('mean', 'std'))
    return (torch.stack(batch['inputs']).double() - mean) / std


def test_train_step_logs_the_loss_and_lowers_it():
    model = build_fcmae(randomised=False, data_preprocessor=PREPROCESSOR, decoder_embed_dims=32).train()
    optim_wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=3e-3))
    images = normalised(raw_batch())
    torch.manual_seed(7)
    mask = model.random_mask(images)
    expected, _ = reference.fcmae(double_weights(model), images, mask)
    torch.manual_seed(7)
    first = model.train_step(raw_batch(), optim_wrapper)['loss']
    assert error(first, expected) < 2e-5
    for _ in range(30):
        model.train_step(raw_batch(), optim_wrapper)
    torch.manual_seed(7)
    assert model.loss(images.float())['loss'] < 0.97 * first


@pytest.mark.parametrize('step', ['test_step', 'val_step'])
def test_test_step_gives_the_error_of_each_image(step):
    model = build_fcmae(data_preprocessor=PREPROCESSOR).eval()
    images = normalised(raw_batch())
    torch.manual_seed(7)
    mask = model.random_mask(images)
    torch.manual_seed(7)
    results = getattr(model, step)(raw_batch())
    assert [list(result) for result in results] == [['reconstruction_error']] * 2
    for i, result in enumerate(results):
        expected, _ = reference.fcmae(double_weights(model), images[i : i + 1], mask[i : i + 1])
        assert error(result['reconstruction_error'], expected) < 2e-5
        assert not result['reconstruction_error'].requires_grad


# ---- parameters


def test_state_dict_keys_by_hand():
    model = build_fcmae(decoder_depth=2, decoder_embed_dims=12)
    expected = {'proj.weight', 'proj.bias', 'mask_token', 'pred.weight', 'pred.bias'}
    expected |= {f'decoder.{i}.{key}' for i in range(2) for key in BLOCK_KEYS}
    expected |= {f'backbone.{key}' for key in build_backbone(out_norm=False).state_dict()}
    weights = model.state_dict()
    assert set(weights) == expected
    assert weights['mask_token'].numel() == 12
    assert weights['proj.weight'].shape == (12, 16, 1, 1)
    assert weights['pred.weight'].shape == (32 * 32 * 3, 12, 1, 1)


def test_defaults_of_the_contract():
    model = build_fcmae(randomised=False, decoder_embed_dims=512)
    assert (model.mask_ratio, model.patch_size, model.norm_pix_loss) == (0.6, 32, True)
    assert [name for name, _ in model.decoder.named_children()] == ['0']
    assert model.decoder[0].pwconv1.weight.shape == (2048, 512)


def test_initial_values():
    model = build_fcmae('atto', randomised=False, decoder_embed_dims=256)
    for name, p in model.named_parameters():
        if p.ndim > 1:
            assert abs(p.std() / 0.02 - 1) < 5 / (2 * p.numel()) ** 0.5, name
        else:
            assert (p == (1 if name.endswith('weight') else 0)).all(), name
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.init_weights()
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize('wrapped', [True, False])
def test_pretrained_weights_transfer_to_a_backbone(wrapped, tmp_path):
    model, images, _ = fcmae_case('square')
    weights = model.state_dict()
    torch.save(dict(state_dict=weights, meta={}) if wrapped else weights, tmp_path / 'fcmae.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'fcmae.pth'), prefix='backbone.')
    backbone = build_backbone(randomised=False, init_cfg=init_cfg)
    backbone.init_weights()

    loaded = backbone.state_dict()
    norms = {f'norm{i}.{key}' for i in range(4) for key in ('weight', 'bias')}
    assert set(loaded) - norms == {key[9:] for key in weights if key.startswith('backbone.')}
    for key, value in loaded.items():
        if key in norms:
            assert (value == (1 if key.endswith('weight') else 0)).all()
        else:
            assert torch.equal(value, weights[f'backbone.{key}']), key
    fresh_norm = torch.nn.functional.layer_norm(model(images)[0].permute(0, 2, 3, 1), (16,), eps=1e-6)
    assert error(backbone(images)[-1], fresh_norm.permute(0, 3, 1, 2)) < 1e-6


# ---- errors


@pytest.mark.parametrize('ratio', [0, 1, -0.1, 1.5])
def test_refuses_a_mask_ratio_outside_the_open_interval(ratio):
    with pytest.raises(ValueError, match=rf'mask_ratio must lie between 0 and 1.*got {ratio}'):
        build_fcmae(mask_ratio=ratio)


def test_refuses_another_patch_size():
    with pytest.raises(ValueError, match=r'patch_size must be .*32, got 16'):
        build_fcmae(patch_size=16)


@pytest.mark.parametrize(
    'size, message',
    [
        ((2, 3, 32, 32), r'at least two 32x32 patches, got a grid of 1x1'),
        ((2, 3, 64, 72), r'height and width must be divisible by 32, got 64x72'),
        ((2, 1, 64, 64), r'images must be \(N, 3, H, W\), got shape \(2, 1, 64, 64\)'),
        ((3, 64, 64), r'images must be \(N, 3, H, W\), got shape \(3, 64, 64\)'),
    ],
)
@pytest.mark.parametrize('mode', ['loss', 'predict'])
def test_image_errors(size, message, mode):
    with pytest.raises(ValueError, match=message):
        build_fcmae()(torch.zeros(size), mode=mode)


def test_a_mask_that_removes_nothing_has_no_loss():
    """The mean over no patch is NaN: training would go on with it."""
    with pytest.raises(ValueError, match=r'mask'):
        build_fcmae().loss(torch.zeros(2, 3, 64, 64), mask=torch.zeros(2, 2, 2).bool())


def test_mask_errors():
    with pytest.raises(ValueError, match=r'mask must have shape .*\(2, 2, 2\).*got \(1, 2, 2\)'):
        build_fcmae(ARCH).loss(torch.zeros(2, 3, 64, 64), mask=torch.eye(2).bool()[None])
