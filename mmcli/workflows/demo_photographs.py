"""The photographs of the demonstration: those that the scikit-image package itself ships.

All are in the public domain or CC0, as `skimage.data` says of each; the captions are ours. Searches
look at the pictures, the captions only say what a person sees.

Some that the package ships are left out: bricks, grass, coins, a cell and handwriting look a little
like many of the 1,000 things that the starter's classifier knows, and a mixture of many names is
near every query.
"""

import importlib.util
from pathlib import Path

from mmcli.core.errors import MissingResource

HINT = "pip install 'mmcli[demo]'"

CAPTIONS = {
    "astronaut.png": "An astronaut in an orange suit, a model of the space shuttle behind her.",
    "camera.png": "A man in a dark coat looks through a camera on a tripod in a park.",
    "chelsea.png": "The face of a ginger tabby cat with green eyes.",
    "clock_motion.png": "A clock on a wall, blurred because the camera moved.",
    "coffee.png": "Espresso in a red cup with a saucer and a spoon, on a wooden table.",
    "gravel.png": "Grey gravel, seen from above.",
    "hubble_deep_field.jpg": "Thousands of distant galaxies on a black sky.",
    "ihc.png": "Stained tissue under a microscope, brown and blue.",
    "moon.png": "The grey surface of the Moon with a small crater.",
    "motorcycle_left.png": "A red motorcycle parked in a garage, boxes on the shelves.",
    "page.png": "A printed page about region-based segmentation, unevenly lit.",
    "retina.jpg": "The back of a human eye with its blood vessels.",
    "rocket.jpg": "A rocket on its launch pad between lightning towers, at dusk.",
}
#: The other picture of the stereo pair whose left one is indexed: to search with, never indexed.
QUERY_PICTURE = "motorcycle_right.png"


def find_photographs() -> Path:
    """The folder that holds them, without importing scikit-image.

    Raises MissingResource when scikit-image is not installed, or does not ship one of them.
    """
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise MissingResource("package `scikit-image` is not installed", HINT)
    folder = Path(spec.origin).parent / "data"
    for name in (*CAPTIONS, QUERY_PICTURE):
        if not (folder / name).is_file():
            raise MissingResource(f"scikit-image no longer ships `{name}`", HINT)
    return folder
