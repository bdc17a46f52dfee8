"""VideoMAE: a Transformer over patches of space and time; the mean of its states is the vector.

Source: Tong et al. 2022, arXiv 2203.12602.
"""

from mmcli.core.types import EncoderCard
from mmcli.data.recipes import VideoRecipe
from mmcli.encoders.cards import space_of
from mmcli.encoders.clips import VIDEO_BATCH, ClipBatch, Clips, frames_of
from mmcli.encoders.hub import fetch
from mmcli.encoders.image_settings import IMAGENET_MEAN, IMAGENET_STD, picture_settings
from mmcli.encoders.specs import EncoderOptions, ResolvedEncoder
from mmcli.encoders.towers import PictureTower, Ran, picture_tower
from mmcli.encoders.weights import folder_sha256, open_model, settle, weight_files
from mmcli.engine.device import Placement
from mmcli.engine.torch_stack import load_transformers

#: VideoMAEImageProcessor's, where the folder says nothing; X-CLIP uses it too.
FRAME_DEFAULTS = {
    "do_center_crop": True,
    "size": {"shortest_edge": 224},
    "crop_size": {"height": 224, "width": 224},
    "resample": 2,
    "image_mean": IMAGENET_MEAN,
    "image_std": IMAGENET_STD,
}


def load(resolved: ResolvedEncoder, options: EncoderOptions, placement: Placement) -> PictureTower:
    """The video model of a repository or a folder."""
    found = fetch(resolved)
    whole = open_model(load_transformers().VideoMAEModel, found.path, placement)
    net = settle(whole, placement)
    sha256 = folder_sha256(weight_files(found.path))
    settings = picture_settings(found.path, int(net.config.image_size), FRAME_DEFAULTS)
    frames = frames_of(int(net.config.num_frames), options, resolved)
    card = EncoderCard(
        name=resolved.name,
        modality="video",
        dim=0,
        normalized=False,
        space=space_of("videomae", sha256),
        weights_sha256=sha256,
        revision=found.revision,
    )

    def run(batch: ClipBatch) -> Ran:
        states = net(batch.pixels).last_hidden_state
        return Ran(states.float().mean(dim=1), states)

    return picture_tower(
        card,
        net,
        run,
        lambda: net.encoder.layer,
        0,
        settings,
        options,
        placement,
        recipe=VideoRecipe(settings.recipe, frames),
        pictures=Clips(settings, frames, placement),
        window=VIDEO_BATCH,
        budget=VIDEO_BATCH,
    )
