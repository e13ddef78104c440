"""The factorial experiment's models: HyperTTS's adapters on a backbone with dense and with pruned decoder attention.

    backbone_dense, backbone_pruned   HyperTTS's backbone trained on for the same steps, under either rule of attention
    <cell>_<attention>                that backbone frozen, and a cell's adapters trained on the adaptation speakers

Learned pruning (arXiv 2308.14909) acts as on StyleSpeech: soft masks, then hard ones with the thresholds fixed. The
adapters never see a soft mask.
"""

from functools import cached_property

from torch import Tensor

from lib.corpora.corpus import Corpus
from lib.corpora.features import Features
from lib.files import file_hash
from lib.methods.sparse_attention import Pruned, SparseSettings, sparsity_loss
from lib.models import fastspeech2
from lib.models.fastspeech2 import FastSpeech2, FastSpeech2Dims
from lib.models.fft_block import NO_HOOKS, Hooks
from lib.papers.ht import systems as ht
from lib.papers.ht.systems import Adapted, assemble, in_training
from lib.study import protocol
from lib.study.part import Part
from lib.training import parallel
from lib.training.loop import TrainConfig, seed_everything

BACKBONE = "backbone"


class AcrossError(ValueError):
    """A system, cell or attention that the experiment does not have; the sentence says what to change."""


class Systems(protocol.Study):
    """What of the experiment is trained; `settings` is the profile's section xp."""

    paper = "xp"
    error = AcrossError

    @cached_property
    def tts(self) -> ht.Systems:
        """HyperTTS, whose backbone the experiment starts from."""
        return ht.Systems(self.profile, self.device, self.cores)

    @cached_property
    def corpus(self) -> Corpus:
        return self.tts.corpus

    @cached_property
    def features(self) -> Features:
        return self.tts.features

    def rule(self, attention: str) -> SparseSettings:
        """A rule of attention by its name in the profile. Raises AcrossError for one that is not there."""
        rules = self.settings["attention"]
        if attention not in rules:
            raise AcrossError(f"there is no attention {attention!r} in section xp: choose one of {', '.join(rules)}")
        return SparseSettings.from_dict(self._schedule() | rules[attention])

    def taken(self) -> dict[str, str]:
        return self.tts.taken()

    def part(self, name: str, seed: int) -> Part:
        kind, _, attention = name.rpartition("_")
        return self._backbone(attention) if kind == BACKBONE else self._cell(kind, attention, seed)

    def _backbone(self, attention: str) -> Part:
        """HyperTTS's backbone trained on under a rule of attention."""
        rule, config = self.rule(attention), TrainConfig.from_dict(self.settings[BACKBONE], seed=0)
        depends = (file_hash(self.tts.train(ht.BACKBONE, 0)), self.settings[BACKBONE], rule.to_dict())

        def build() -> PrunedFastSpeech2:
            model = PrunedFastSpeech2(self.tts.dims, rule)
            model.load_state_dict(self.tts.backbone().state_dict(), strict=False)
            return model.train()

        def start(model: PrunedFastSpeech2):
            def losses(batch: dict[str, Tensor]) -> dict[str, Tensor]:
                out = parallel.forward(model, batch, {"mask": 1})
                parts = fastspeech2.loss(out, batch)
                if "mask" in out:
                    parts["sparsity"] = sparsity_loss(out["mask"], rule.ratio)
                    parts["total"] = parts["total"] + parts["sparsity"]
                return parts

            return self.tts.start(model, self.tts.training_rows("pretraining"), config)[0], losses

        return Part(
            config,
            self._depends(depends),
            build,
            start,
            at_step=lambda model: model.at_step,
            details=lambda model: {"thresholds": model.thresholds()},
        )

    def _cell(self, cell: str, attention: str, seed: int) -> Part:
        """A cell's adapters on a frozen backbone."""
        entry = self.cell(cell)
        config = TrainConfig.from_dict(self.settings["adapt"], seed=seed)
        start = file_hash(self.train(f"{BACKBONE}_{attention}", 0))
        own = {key: value for key, value in entry.items() if key != "name"}

        def build() -> Adapted:
            backbone = self.restore(f"{BACKBONE}_{attention}", 0)
            seed_everything(seed)
            return in_training(assemble(backbone, entry), entry)

        return Part(
            config,
            self._depends((start, self.settings["adapt"], own, seed)),
            build,
            start=lambda model: self.tts.start(model, self.tts.training_rows("adaptation"), config),
        )

    def cell(self, name: str) -> dict:
        """A cell's entry in the profile, with its name. Raises AcrossError for one that is not there."""
        cells = self.settings["cells"]
        if name not in cells:
            raise AcrossError(f"there is no cell {name!r} in section xp: choose one of {', '.join(cells)}")
        return {"name": name, **cells[name]}

    def adapted(self, cell: str | None, attention: str, seed: int) -> Adapted:
        """A trained cell in evaluation mode, trained now if it is not there; without a cell the backbone alone."""
        if cell is not None:
            return self.restore(f"{cell}_{attention}", seed)
        backbone = self.restore(f"{BACKBONE}_{attention}", 0)
        return assemble(backbone, {"name": "unadapted", "method": "none"}).eval()

    def _schedule(self) -> dict:
        return {name: self.settings[name] for name in ("soft_steps", "theta_scale")}

    def _depends(self, facts: tuple) -> tuple:
        shared = (self.corpus.hash, self.profile["features"], self.tts.dims.to_dict(), self.device.split(":")[0])
        return shared, self._schedule(), facts


class PrunedFastSpeech2(FastSpeech2, Pruned):
    """HyperTTS's backbone whose decoder attends under a rule; it keeps the dense one's parameter names."""

    def __init__(self, dims: FastSpeech2Dims, settings: SparseSettings):
        super().__init__(dims)
        self.prune(settings, {f"d{i}": block for i, block in enumerate(self.decoder)})

    def forward(self, batch: dict[str, Tensor], hooks: Hooks = NO_HOOKS) -> dict[str, Tensor]:
        """`FastSpeech2.forward`, and while masks are soft "mask", their means `(blocks, batch, heads)`."""
        return super().forward(batch, hooks) | self.collected()
