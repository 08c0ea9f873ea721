"""A config and a checkpoint of random weights for each kind of whole model, small, on toy scenes."""

from helpers.recipes import recipe_with_weights

ARCH = dict(depths=(1, 1, 1, 1), channels=[8, 12, 16, 24])
BACKBONE = {'model.backbone.arch': dict(ARCH, _delete_=True)}
MASK_RCNN, UPERNET, FCMAE = (f'toy/{name}_convnextv2-atto_toy-scenes' for name in ('mask-rcnn', 'upernet', 'fcmae'))
CLASSIFIER = 'own_data/convnextv2-atto_own-class-folders'
# What small heads of single-stage detectors share; POINTS: those of RTMDet and RTMDet-Ins.
DENSE = dict(num_classes=6, in_channels=8, feat_channels=8, stacked_convs=1)
POINTS = dict(
    **DENSE,
    anchor_generator=dict(type='MlvlPointGenerator', offset=0, strides=[8, 16, 32, 64]),
    bbox_coder=dict(type='DistancePointBBoxCoder'),
    loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True),
    loss_bbox=dict(type='GIoULoss'),
)
FEW = {
    **BACKBONE,
    'model.neck.in_channels': ARCH['channels'][1:],
    'model.train_cfg': None,
    'model.neck.out_channels': 8,
    'model.neck.norm_cfg.num_groups': 2,
}
RPN = {
    'model.rpn_head.in_channels': 8,
    'model.rpn_head.feat_channels': 8,
    'model.test_cfg.rpn.max_per_img': 20,
    'model.test_cfg.rcnn.max_per_img': 20,
    'model.roi_head.bbox_head.in_channels': 8,
    'model.roi_head.bbox_head.fc_out_channels': 16,
    'model.roi_head.bbox_roi_extractor.out_channels': 8,
}
MASKS = {
    'model.roi_head.mask_head.in_channels': 8,
    'model.roi_head.mask_head.conv_out_channels': 8,
    'model.roi_head.mask_head.norm_cfg.num_groups': 2,
    'model.roi_head.mask_roi_extractor.out_channels': 8,
}
HEAD = {
    **BACKBONE,
    'model.decode_head.in_channels': ARCH['channels'],
    'model.decode_head.channels': 8,
}


def mask_rcnn(folder, **changes):
    return recipe_with_weights(MASK_RCNN, folder, **FEW, **RPN, **MASKS, **changes)


def faster_rcnn(folder, **changes):
    without = {'model.type': 'FasterRCNN', 'model.roi_head.mask_head': None}
    return recipe_with_weights(MASK_RCNN, folder, **FEW, **RPN, **without, **changes)


def cascade_mask_rcnn(folder, **changes):
    """Three stages, the first two of which do not ask for the class when they refine boxes."""
    cfg = recipe_with_weights(MASK_RCNN, folder, **FEW, **RPN, **MASKS)[0].model.roi_head
    heads = [
        dict(
            cfg.bbox_head,
            reg_class_agnostic=i < 2,
            bbox_coder=dict(cfg.bbox_head.bbox_coder, target_stds=[s, s, s, s]),
        )
        for i, s in enumerate((0.1, 0.05, 0.03))
    ]
    cascade = {
        'model.type': 'CascadeRCNN',
        'model.roi_head.type': 'CascadeRoIHead',
        'model.roi_head.num_stages': 3,
        'model.roi_head.stage_loss_weights': [1, 0.5, 0.25],
    }
    first = {'model.roi_head.bbox_head': heads}
    return recipe_with_weights(
        MASK_RCNN,
        folder,
        **FEW,
        **{k: v for k, v in RPN.items() if 'bbox_head' not in k},
        **MASKS,
        **cascade,
        **first,
        **changes,
    )


def retinanet(folder, **changes):
    head = dict(
        type='RetinaHead',
        **DENSE,
        anchor_generator=dict(
            type='AnchorGenerator',
            octave_base_scale=2,
            scales_per_octave=2,
            ratios=[1.0, 2.0],
            strides=[8, 16, 32, 64],
        ),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True),
        loss_bbox=dict(type='L1Loss'),
    )
    return _single_stage(folder, 'RetinaNet', head, nms_pre=100, **changes)


def rtmdet(folder, **changes):
    head = dict(
        type='RTMDetSepBNHead',
        **POINTS,
        with_objectness=False,
        exp_on_reg=True,
    )
    # As its own configs do, it takes BGR.
    return _single_stage(folder, 'RTMDet', head, 30000, **{'model.data_preprocessor.bgr_to_rgb': False}, **changes)


def rtmdet_ins(folder):
    head = dict(
        type='RTMDetInsSepBNHead',
        **POINTS,
        loss_mask=dict(type='mmdet.DiceLoss'),
    )
    return _single_stage(folder, 'RTMDet', head, nms_pre=100)


def _single_stage(folder, kind, head, nms_pre, **changes):
    cfg = recipe_with_weights(MASK_RCNN, folder, **FEW, **RPN, **MASKS)[0].model
    test_cfg = dict(nms_pre=nms_pre, min_bbox_size=0, score_thr=0.05, max_per_img=30)
    test_cfg['nms'] = dict(type='nms', iou_threshold=0.5)
    kept = {name: cfg[name] for name in ('data_preprocessor', 'backbone', 'neck')}
    kept['data_preprocessor'].update(bgr_to_rgb=changes.pop('model.data_preprocessor.bgr_to_rgb', True))
    model = dict(_delete_=True, type=kind, bbox_head=head, test_cfg=test_cfg, **kept)
    return recipe_with_weights(MASK_RCNN, folder, model=model, **changes)


def upernet(folder, **changes):
    return recipe_with_weights(UPERNET, folder, **HEAD, **changes)


def segformer(folder, **changes):
    head = dict(
        _delete_=True,
        type='SegformerHead',
        in_channels=ARCH['channels'],
        in_index=[0, 1, 2, 3],
        channels=8,
        num_classes=7,
    )
    return recipe_with_weights(UPERNET, folder, **{**BACKBONE, 'model.decode_head': head}, **changes)


def fcn(folder, **changes):
    head = dict(_delete_=True, type='FCNHead', in_channels=24, in_index=3, channels=8, num_classes=7, num_convs=1)
    return recipe_with_weights(UPERNET, folder, **{**BACKBONE, 'model.decode_head': head}, **changes)


def semantic_fpn(folder, **changes):
    neck = dict(type='FPN', in_channels=ARCH['channels'], out_channels=8, num_outs=4)
    head = dict(
        _delete_=True,
        type='FPNHead',
        in_channels=[8, 8, 8, 8],
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=8,
        num_classes=7,
    )
    model = {**BACKBONE, 'model.neck': neck, 'model.decode_head': head}
    return recipe_with_weights(UPERNET, folder, **model, **changes)


def deeplabv3plus(folder, **changes):
    head = dict(
        _delete_=True,
        type='DepthwiseSeparableASPPHead',
        in_channels=24,
        in_index=3,
        channels=8,
        dilations=(1, 3, 6, 9),
        c1_in_channels=8,
        c1_channels=8,
        num_classes=7,
        # So many depthwise layers without trained norms would leave one label everywhere.
        norm_cfg=dict(type='GN', num_groups=4),
    )
    return recipe_with_weights(UPERNET, folder, **{**BACKBONE, 'model.decode_head': head}, **changes)


def classifier(folder, **changes):
    model = {
        **BACKBONE,
        'model.head.in_channels': 24,
        'model.head.num_classes': 3,
    }
    return recipe_with_weights(CLASSIFIER, folder, **model, **changes)


def fcmae(folder, **changes):
    model = {**BACKBONE, 'model.decoder_embed_dims': 16}
    return recipe_with_weights(FCMAE, folder, **model, **changes)


DETECTORS = dict(
    mask_rcnn=mask_rcnn,
    cascade_mask_rcnn=cascade_mask_rcnn,
    retinanet=retinanet,
    rtmdet=rtmdet,
)
SEGMENTERS = dict(
    upernet=upernet, segformer=segformer, fcn=fcn, semantic_fpn=semantic_fpn, deeplabv3plus=deeplabv3plus
)
