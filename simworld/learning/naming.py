"""CLIP learns which words fit a picture's lane markings, so that its score orders right edits above wrong ones."""

import torch
import torch.nn.functional as F
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from relane.prompts import lanes
from simworld.learning import reading
from simworld.learning.pictures import ALL

SIZE, PATCH = 144, 12
SHARED = {"hidden_size": 96, "num_attention_heads": 3, "initializer_range": 0.05}
VISION = SHARED | {"intermediate_size": 256, "num_hidden_layers": 4, "image_size": SIZE, "patch_size": PATCH}
TEXT = SHARED | {"intermediate_size": 192, "num_hidden_layers": 2, "max_position_embeddings": 77}


def config(tokenizer: CLIPTokenizer) -> CLIPConfig:
    """A CLIP of 0.7 million parameters that sees 144 x 144 pixels."""
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return CLIPConfig(text_config=TEXT | ids | {"vocab_size": len(tokenizer)}, vision_config=VISION, projection_dim=64)


def image_processor() -> CLIPImageProcessor:
    """The shorter side to 144 pixels, then the square in the middle, as CLIP's processors do it."""
    return CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})


def sentences() -> list[list[str]]:
    """Ways to ask for markings, each for all eight: the caption, the instruction, and short forms of them."""
    return [
        [one.prompt() for one in ALL],
        [lanes.instruction_of(one) for one in ALL],
        [lanes.what_is_asked(lanes.instruction_of(one)) for one in ALL],
        [f"{one.count} {one.color} {one.pattern} lane markings" for one in ALL],
    ]


class Pairs:
    """Pictures of the world and sentences about their markings, for a contrastive loss."""

    def __init__(self, data: reading.Moments, tokenizer: CLIPTokenizer) -> None:
        self.data = data
        texts = [text for style in sentences() for text in style]
        self.tokens = tokenizer(texts, padding=True, truncation=True, max_length=77, return_tensors="pt").to(
            data.device
        )
        processor = image_processor()
        self.mean, self.std = (
            torch.tensor(values, device=data.device) for values in (processor.image_mean, processor.image_std)
        )

    def draw(self, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """pixel_values (B, 3, 144, 144) and markings (B,): whole frames, and frames black outside a mask.

        Most are cut to the middle square as for the score, some squashed whole as for temporal consistency.
        """
        data, device = self.data, self.data.device
        at, version = torch.randint(len(data), (batch,), device=device), torch.randint(4, (batch,), device=device)
        images = reading.varied(data.images[at, version].float())
        mask = data.masks[at, torch.randint(2, (batch,), device=device)]
        alone = torch.rand(batch, 1, 1, device=device) < 0.4
        images = (images * (mask | ~alone)[..., None]).permute(0, 3, 1, 2)
        height, width = images.shape[2:]
        cut = round(0.8 * batch)
        parts = [_resized(images[:cut], (SIZE, SIZE * width // height)), _resized(images[cut:], (SIZE, SIZE))]
        left = (parts[0].shape[3] - SIZE) // 2
        pixels = torch.cat([parts[0][..., left : left + SIZE], parts[1]]) / 255
        if torch.rand(()) < 0.5:
            pixels = pixels.flip(3)
        return (pixels - self.mean[:, None, None]) / self.std[:, None, None], data.markings[at, version]

    def loss(self, model: CLIPModel, batch: int) -> tuple[torch.Tensor, dict]:
        """Contrastive loss of a batch with every sentence, and how often the right one of eight is the nearest.

        From pictures to sentences within each style, and from each sentence to the pictures that it fits.
        """
        pixels, markings = self.draw(batch)
        seen = F.normalize(model.get_image_features(pixel_values=pixels).pooler_output.float(), dim=-1)
        words = F.normalize(model.get_text_features(**self.tokens).pooler_output.float(), dim=-1)
        alike = model.logit_scale.clamp(max=4.6).exp() * seen @ words.T
        by_style = alike.view(batch, -1, len(ALL))
        fits = F.one_hot(markings, len(ALL)).float()
        to_words = F.cross_entropy(by_style.transpose(1, 2), markings[:, None].expand(-1, by_style.shape[1]))
        share = fits / fits.sum(0).clamp(min=1)
        to_pictures = -(by_style.log_softmax(0) * share[:, None]).sum(0).mean()
        right = (by_style[:, 0].argmax(-1) == markings).float().mean()
        return to_words + 0.5 * to_pictures, {"named": right}


def _resized(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(B, 3, H, W) float to another size as the image processor does it."""
    return F.interpolate(images, size, mode="bicubic", antialias=True).clamp(0, 255).round()
