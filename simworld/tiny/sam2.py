"""A tiny SAM2: sam2's own classes with a small Hiera at 256 pixels, 1.7 million parameters.

The weights are random but for one vector, the last bias of the mask decoder, which is fitted in closed form: see
`_fit_output`. Without it a random SAM2 paints nothing or everything, and no stage after it would have work.
"""

from pathlib import Path

import numpy as np
import torch

from relane.io.files import atomic_folder
from relane.noise import seed_of

CONFIG = """\
# SAM2 with a small Hiera. The same keys as sam2/configs/sam2.1 in the sam2 package.
model:
  _target_: sam2.modeling.sam2_base.SAM2Base
  image_encoder:
    _target_: sam2.modeling.backbones.image_encoder.ImageEncoder
    scalp: 1
    trunk:
      _target_: sam2.modeling.backbones.hieradet.Hiera
      embed_dim: 24
      num_heads: 1
      stages: [1, 1, 2, 1]
      global_att_blocks: [3]
      window_spec: [8, 4, 16, 8]
      window_pos_embed_bkg_spatial_size: [8, 8]
    neck:
      _target_: sam2.modeling.backbones.image_encoder.FpnNeck
      position_encoding: &picture_positions
        _target_: sam2.modeling.position_encoding.PositionEmbeddingSine
        num_pos_feats: 64
        normalize: true
        scale: null
        temperature: 10000
      d_model: 64
      backbone_channel_list: [192, 96, 48, 24]
      fpn_top_down_levels: [2, 3]
      fpn_interp_model: nearest
  memory_attention:
    _target_: sam2.modeling.memory_attention.MemoryAttention
    d_model: 64
    pos_enc_at_input: true
    layer:
      _target_: sam2.modeling.memory_attention.MemoryAttentionLayer
      activation: relu
      dim_feedforward: 128
      dropout: 0.0
      pos_enc_at_attn: false
      self_attention: &attention
        _target_: sam2.modeling.sam.transformer.RoPEAttention
        rope_theta: 10000.0
        feat_sizes: [16, 16]
        embedding_dim: 64
        num_heads: 1
        downsample_rate: 1
        dropout: 0.0
      d_model: 64
      pos_enc_at_cross_attn_keys: true
      pos_enc_at_cross_attn_queries: false
      cross_attention:
        <<: *attention
        rope_k_repeat: true
        kv_in_dim: 16
    num_layers: 1
  memory_encoder:
    _target_: sam2.modeling.memory_encoder.MemoryEncoder
    in_dim: 64
    out_dim: 16
    position_encoding:
      <<: *picture_positions
      num_pos_feats: 16
    mask_downsampler:
      _target_: sam2.modeling.memory_encoder.MaskDownSampler
      embed_dim: 64
      kernel_size: 3
      stride: 2
      padding: 1
    fuser:
      _target_: sam2.modeling.memory_encoder.Fuser
      layer:
        _target_: sam2.modeling.memory_encoder.CXBlock
        dim: 64
        kernel_size: 7
        padding: 3
        layer_scale_init_value: 1.0e-6
        use_dwconv: true
      num_layers: 2
  num_maskmem: 7
  image_size: 256
  sigmoid_scale_for_mem_enc: 20.0
  sigmoid_bias_for_mem_enc: -10.0
  use_mask_input_as_output_without_sam: true
  directly_add_no_mem_embed: true
  no_obj_embed_spatial: true
  use_high_res_features_in_sam: true
  multimask_output_in_sam: true
  iou_prediction_use_sigmoid: true
  use_obj_ptrs_in_encoder: true
  add_tpos_enc_to_obj_ptrs: true
  proj_tpos_enc_in_obj_ptrs: true
  use_signed_tpos_enc_to_obj_ptrs: true
  only_obj_ptrs_in_the_past_for_eval: true
  pred_obj_scores: true
  pred_obj_scores_mlp: true
  fixed_no_obj_ptr: true
  multimask_output_for_tracking: true
  use_multimask_token_for_obj_ptr: true
  multimask_min_pt_num: 0
  multimask_max_pt_num: 1
  use_mlp_for_obj_ptr_proj: true
  compile_image_encoder: false
"""


def build(folder: Path, seed: int) -> None:
    """Write `folder` with `config.yaml` and `model.safetensors` (float32); the same seed gives the same bytes."""
    from hydra.utils import instantiate
    from omegaconf import OmegaConf
    from safetensors.torch import save_file

    from relane.road.sam2_video import load_predictor

    with atomic_folder(folder) as out, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("tiny", "sam2", seed))
        (out / "config.yaml").write_text(CONFIG, encoding="utf-8")
        model = instantiate(OmegaConf.create(CONFIG).model, _recursive_=True).eval()
        # Strong position embeddings (sam2 starts them at 0 and 0.02), so that random features can tell the bottom
        # of a picture, where a road is, from its top.
        torch.nn.init.normal_(model.image_encoder.trunk.pos_embed)
        # An object is present in every frame.
        torch.nn.init.constant_(model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias, 10.0)
        save_file(model.state_dict(), out / "model.safetensors")
        predictor = load_predictor(out)
        _fit_output(predictor)
        save_file(predictor.state_dict(), out / "model.safetensors")


def _picture(generator: torch.Generator, size: int = 256) -> tuple[np.ndarray, torch.Tensor]:
    """A road as simple as can be, (S, S, 3) uint8: a grey trapezoid under a sky; and where it is, (S/4, S/4) bool."""
    horizon, half_width, sky, grass, asphalt = torch.rand(5, generator=generator).tolist()
    row = torch.linspace(0, 1, size)[:, None]
    column = torch.linspace(-1, 1, size)[None]
    depth = (row - (0.35 + 0.15 * horizon)).clamp(min=0) / 0.5
    road = (column.abs() < (0.7 + 0.6 * half_width) * depth).numpy()
    picture = np.where(
        (depth > 0).numpy()[..., None], [70 + 60 * grass, 110 + 40 * grass, 60], [120, 160, 150 + 100 * sky]
    )
    picture = np.where(road[..., None], 60 + 60 * asphalt, picture).astype(np.uint8)
    return picture, torch.from_numpy(road[2::4, 2::4].copy())


@torch.no_grad()
def _fit_output(predictor: torch.nn.Module, clips: int = 8, frames: int = 2) -> None:
    """Set the mask decoder's output biases so that the mask is, as far as random features allow, a road.

    A mask logit is a product of the decoder's features of a pixel and a vector that a small network makes from the
    mask token. That network's last layer gets small weights, and as its bias the vector that separates road from
    the rest on a few drawn pictures in the least-squares sense.
    """
    from relane.config.sections.sam2 import POINTS
    from relane.road import sam2_video

    layers = [network.layers[-1] for network in predictor.sam_mask_decoder.output_hypernetworks_mlps]
    weights = [layer.weight.clone() for layer in layers]

    def low_logits(bias: torch.Tensor) -> torch.Tensor:
        for layer in layers:
            layer.weight.zero_()
            layer.bias.copy_(bias)
        found = []
        for picture in pictures:
            stream = sam2_video.FrameStream(iter([picture] * frames), frames, predictor.image_size)
            state = sam2_video.new_state(predictor, stream)
            sam2_video.prompt(predictor, state, np.array(POINTS, np.float32), np.ones(len(POINTS), np.int32))
            for _ in sam2_video.propagate(predictor, state, torch.float32):
                pass
            outputs = state["output_dict_per_obj"][0]
            found += [outputs["cond_frame_outputs"][0], *outputs["non_cond_frame_outputs"].values()]
        return torch.cat([out["pred_masks"].flatten() for out in found])

    generator = torch.Generator().manual_seed(0)
    pictures, roads = zip(*(_picture(generator) for _ in range(clips)), strict=True)
    wanted = torch.cat([road.flatten().repeat(frames) for road in roads]).float() * 2 - 1
    size = layers[0].bias.numel()
    # With the bias at a unit vector the logits are that feature.
    features = torch.stack([low_logits(unit) for unit in torch.eye(size)], dim=1).double()
    fitted = torch.linalg.lstsq(features, wanted.double()[:, None]).solution[:, 0]

    for layer, weight in zip(layers, weights, strict=True):
        layer.weight.copy_(weight * 0.01)
        layer.bias.copy_(10 * fitted)
