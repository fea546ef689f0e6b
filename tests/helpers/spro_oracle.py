"""sPRO straight from its definition: every distinct score is a threshold."""

import numpy as np

from gcad_jax.data.dataset import GOOD, Region, TestImage


def region(name, mask, threshold=1.0, relative=True):
    pixels = np.flatnonzero(mask).astype(np.int32)
    return Region(name, 255, threshold, relative, pixels)


def saturation(region):
    if region.relative_saturation:
        return int(region.saturation_threshold * len(region.pixels))
    return min(int(region.saturation_threshold), len(region.pixels))


def subset(images, kind=None, defect=None):
    """(indices of images, [(image, region)]) of a kind or of a defect type."""
    pairs = [
        (i, r)
        for i, image in enumerate(images)
        for r in image.regions
        if image.kind == kind or r.defect_name == defect
    ]
    good = [i for i, image in enumerate(images) if image.kind == GOOD]
    return sorted(set(good) | {i for i, _ in pairs}), pairs


def negatives(images, maps, kind=None, defect=None):
    """Scores outside all regions, of good images and those of the subset."""
    found = [np.empty(0)]
    for i in subset(images, kind, defect)[0]:
        outside = np.ones(maps[i].size, bool)
        for r in images[i].regions:
            outside[r.pixels] = False
        found.append(maps[i].ravel()[outside])
    return np.concatenate(found)


def auspro(images, maps, limit, kind=None, defect=None, only=None):
    """Trapezoids under (FPR, sPRO), cut at the limit; None without regions.

    only: index of the one image whose regions count; the negatives stay.
    """
    chosen, pairs = subset(images, kind, defect)
    outside = negatives(images, maps, kind, defect)
    if not pairs or outside.size == 0:
        return None
    if only is not None:
        pairs = [(i, r) for i, r in pairs if i == only]
    x, y = [0.0], [0.0]
    for t in np.unique(np.concatenate([maps[i].ravel() for i in chosen]))[::-1]:
        x.append((outside >= t).mean())
        hits = [
            min((maps[i].ravel()[r.pixels] >= t).sum() / saturation(r), 1)
            for i, r in pairs
        ]
        y.append(float(np.mean(hits)))
    total = 0.0
    for x0, x1, y0, y1 in zip(x[:-1], x[1:], y[:-1], y[1:], strict=True):
        if x0 >= limit:
            break
        if x1 > limit:
            y1 = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            x1 = limit
        total += (x1 - x0) * (y0 + y1) / 2
    return total / limit


def auroc(good, anomalous):
    wins = [(a > g) + 0.5 * (a == g) for a in anomalous for g in good]
    return float(np.mean(wins)) if wins else None


def an_image(number, kind, height, width, regions=(), annotated=True):
    name = f"{kind}/{number:03d}"
    return TestImage(name, kind, height, width, tuple(regions), annotated)
