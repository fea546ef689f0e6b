"""What a training is fed: order, augmentation, patches, arrays on the device."""
