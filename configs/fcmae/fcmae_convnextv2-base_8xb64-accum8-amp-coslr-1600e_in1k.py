# The recipe for 64 GPUs on 8: gradients of 8 iterations of 512 images add up to a step of 4096, and MMEngine divides
# each loss by 8. All images have the same number of removed patches, so that the mean of means is the mean.
# 2502 iterations an epoch = 1281167 images // 512; 1600 epochs = 4003200 iterations = 500400 steps.
_base_ = 'fcmae_convnextv2-base_64xb64-amp-coslr-1600e_in1k.py'

# The learning rate follows iterations, and warm-up and cosine are given in epochs: they last as long as on 64 GPUs.
# 2502 is no multiple of 8, and a step may take images of two epochs; 20 epochs, after which a checkpoint is written,
# are 50040 iterations = 8 * 6255. PyTorch warns once that the schedule moves before the first step: after iterations 1
# to 7 there is none.
optim_wrapper = dict(accumulative_counts=8)
