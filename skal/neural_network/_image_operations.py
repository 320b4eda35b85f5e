"""Operations on batches of images, each image with its own magnitude.

Images are tensors of shape (n, channels, height, width) with values from 0 (black) to 1 (white);
magnitudes are tensors of shape (n,).
"""

import torch
from torch.nn import functional

# The share of each channel in how bright a colour looks (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)


def identity(images, magnitude):
    """Change nothing."""
    return images


def auto_contrast(images, magnitude):
    """Stretch each channel from black to white."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    flat = high <= low
    return torch.where(flat, images, (images - low) / (high - low).masked_fill(flat, 1))


def equalize(images, magnitude):
    """Map the 256 levels of each channel so that all are about equally frequent."""
    levels = _levels(images).flatten(2)
    histogram = torch.zeros((*levels.shape[:2], 256), device=images.device, dtype=torch.int64)
    histogram.scatter_add_(2, levels, torch.ones_like(levels))
    brightest = levels.amax(2, keepdim=True)
    step = (levels.shape[2] - histogram.gather(2, brightest)) // 255
    below = histogram.cumsum(2) - histogram
    table = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    mapped = (table.gather(2, levels) / 255).to(images.dtype).reshape(images.shape)
    return torch.where(step[..., None] > 0, mapped, images)


def solarize(images, magnitude):
    """Invert the levels (0 to 255) from the magnitude on."""
    inverted = _levels(images) >= magnitude[:, None, None, None]
    return torch.where(inverted, 1 - images, images)


def posterize(images, magnitude):
    """Keep as many of the 8 bits of each level as the magnitude says."""
    unit = 2 ** (8 - magnitude.to(torch.int64))[:, None, None, None]
    return (_levels(images) // unit * unit / 255).to(images.dtype)


def color(images, magnitude):
    """Blend with the grey image."""
    return _blend(_grey(images).expand_as(images), images, magnitude)


def contrast(images, magnitude):
    """Blend with the mean grey."""
    return _blend(_grey(images).mean((2, 3), keepdim=True).expand_as(images), images, magnitude)


def brightness(images, magnitude):
    """Blend with black."""
    return _blend(torch.zeros_like(images), images, magnitude)


def sharpness(images, magnitude):
    """Blend with the smoothed image; the pixels at the border stay."""
    channels, (height, width) = images.shape[1], images.shape[2:]
    if min(height, width) < 3:
        return images
    kernel = images.new_ones(3, 3)
    kernel[1, 1] = 5
    kernel = (kernel / kernel.sum()).expand(channels, 1, 3, 3)
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = functional.conv2d(images, kernel, groups=channels)
    return _blend(smooth, images, magnitude)


def rotate(images, magnitude):
    """Turn about the centre by an angle in degrees, counter-clockwise."""
    angle = torch.deg2rad(magnitude)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return _affine(images, ((cos, -sin, zero), (sin, cos, zero)))


def shear_x(images, magnitude):
    """Shift each row of pixels in proportion to its distance from the middle."""
    one, zero = torch.ones_like(magnitude), torch.zeros_like(magnitude)
    return _affine(images, ((one, magnitude, zero), (zero, one, zero)))


def shear_y(images, magnitude):
    """Shift each column of pixels in proportion to its distance from the middle."""
    one, zero = torch.ones_like(magnitude), torch.zeros_like(magnitude)
    return _affine(images, ((one, zero, zero), (magnitude, one, zero)))


def translate_x(images, magnitude):
    """Move to the left by a share of the width."""
    one, zero = torch.ones_like(magnitude), torch.zeros_like(magnitude)
    return _affine(images, ((one, zero, magnitude * images.shape[3]), (zero, one, zero)))


def translate_y(images, magnitude):
    """Move up by a share of the height."""
    one, zero = torch.ones_like(magnitude), torch.zeros_like(magnitude)
    return _affine(images, ((one, zero, zero), (zero, one, magnitude * images.shape[2])))


# Name: function, smallest and largest magnitude.
OPERATIONS = {
    "identity": (identity, 0.0, 0.0),
    "auto_contrast": (auto_contrast, 0.0, 0.0),
    "equalize": (equalize, 0.0, 0.0),
    "rotate": (rotate, -30.0, 30.0),
    "solarize": (solarize, 0.0, 256.0),
    "posterize": (posterize, 4.0, 8.0),
    "color": (color, 0.05, 0.95),
    "contrast": (contrast, 0.05, 0.95),
    "brightness": (brightness, 0.05, 0.95),
    "sharpness": (sharpness, 0.05, 0.95),
    "shear_x": (shear_x, -0.1, 0.1),
    "shear_y": (shear_y, -0.1, 0.1),
    "translate_x": (translate_x, -0.1, 0.1),
    "translate_y": (translate_y, -0.1, 0.1),
}


def _levels(images):
    return (255 * images).round().to(torch.int64)


def _grey(images):
    """How bright each pixel looks: (n, 1, height, width)."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    weights = images.new_tensor(_LUMA)[:, None, None]
    return (weights * images).sum(1, keepdim=True)


def _blend(other, images, share):
    share = share[:, None, None, None]
    return (1 - share) * other + share * images


def _affine(images, matrix):
    """Take each pixel from ``matrix @ (x, y, 1)``: pixels from the centre, x right and y down."""
    height, width = images.shape[2:]
    (a, b, s), (c, d, t) = matrix
    theta = torch.stack(
        [
            torch.stack([a, b * height / width, 2 * s / width], 1),
            torch.stack([c * width / height, d, 2 * t / height], 1),
        ],
        1,
    )
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(
        images, grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
