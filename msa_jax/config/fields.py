"""The fields that every method has, with Self-MM's defaults."""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def base() -> ConfigDict:
    """Return the defaults: Self-MM as the authors' repository runs it on MOSI."""
    c = ConfigDict()
    c.method = "self_mm"
    c.task = "sentiment"  # UCRN also: two_class | seven_class(_sdk) | emotion
    c.seeds = (1111, 1112, 1113, 1114, 1115)  # the public code's five

    c.data = ConfigDict()
    c.data.name = "mosi"  # as given to `python -m msa_jax.prepare NAME`
    c.data.dir = placeholder(str)  # where prepare put it; default $MSA_DATA or ./data
    c.data.standardise = "none"  # none | train: by the train split's mean and sd
    # Audio and vision lengths = number of text tokens; None: where ready-made text,
    # audio and vision have equally many steps.
    c.data.aligned = False
    # Where audio and vision of fewer steps than the longest get their zeros. back:
    # steps beyond the true length are not seen. front: zeros first, contents last, and
    # every step counts. So MulT's unaligned files (yaohungt/Multimodal-Transformer)
    # are said to be laid out; models that read the last step see contents then.
    c.data.padding = "back"  # back | front
    c.data.drop_last = False  # leave out the ragged last training batch

    c.text = ConfigDict()
    c.text.encoder = "bert"  # bert | features (precomputed vectors)
    c.text.weights = "minilm"  # minilm | a folder | a hub name | random
    # Whose code computes BERT: the same numbers to the bit in training, dropout
    # included (tests/test_train.py). own: bert.py, needs no Flax in transformers.
    c.text.implementation = "own"  # own | transformers
    # tokens: several sentences in a row, so that time follows the number of tokens and
    # not the longest sentence; the same numbers, to rounding. Needs implementation own
    # and a method that reads no padding. auto: tokens on a CPU where these needs are
    # met, else none (a GPU is thought to gain less than compilation costs).
    c.text.packing = "none"  # none | auto | tokens
    c.text.remat = False  # own BERT: less memory, a third more operations
    c.text.finetune = True  # False: frozen; every text is encoded once
    c.text.pooling = "first"  # first ([CLS], Self-MM) | mean (over valid tokens)
    c.text.max_tokens = 50  # raw text beyond this is cut; 39 for SIMS
    c.text.random_width = 32  # of weights = random, for tests
    c.text.random_layers = 2
    c.text.random_heads = 2
    c.text.random_vocabulary = 64  # at least; grows with the words seen in training

    # Fields of methods.self_mm.SelfMM. Source: config/config_regression.py, MOSI.
    c.model = ConfigDict()
    c.model.sequence = "lstm"  # lstm | spt (SUGRM, Table 4: SPT in Self-MM)
    c.model.recalibrate = "none"  # none | mean | masked (SUGRM, Table 4: MRM added)
    c.model.audio_hidden = 32
    c.model.vision_hidden = 64
    c.model.audio_width = 16
    c.model.vision_width = 32
    c.model.audio_dropout = 0.0
    c.model.vision_dropout = 0.0
    c.model.fusion_head = 128
    c.model.text_head = 64
    c.model.audio_head = 16
    c.model.vision_head = 32
    c.model.fusion_head_dropout = 0.1
    c.model.text_head_dropout = 0.0
    c.model.audio_head_dropout = 0.1
    c.model.vision_head_dropout = 0.1
    c.model.head_layers = 2  # hidden layers per head; the paper says 1, its code 2
    c.model.project_lstm = True  # linear map after the LSTMs; code yes, paper no

    c.spt = spt()  # read where model.sequence = spt (or transformer, for its sizes)

    # Which tasks count and how; see multitask.loss.
    c.loss = ConfigDict()
    c.loss.tasks = ("fusion", "text", "audio", "vision")  # fusion always
    c.loss.error = "l1"  # l1 | l2 | huber (SUGRM, Table 8)
    c.loss.weighting = "disagreement"  # disagreement (tanh |u - m|) | equal

    # Readings of the label generators, see ulgm.Rules and ulgm_distance.Rules.
    c.ulgm = ConfigDict()
    c.ulgm.rule = "self_mm"  # self_mm | sugrm | human (labels of the data set)
    c.ulgm.zero_is_positive = True  # both codes; MMSA and both papers: False
    c.ulgm.clip_labels = True  # both codes; both papers: False
    c.ulgm.undefined = "keep"  # keep | nan (the public codes): empty classes, NaN
    c.ulgm.scale_distance = False  # rule self_mm; paper, Eq. 3 and 4: True
    c.ulgm.epsilon_in_ratio = True  # rule self_mm; code; paper: False
    c.ulgm.repeat_extremes = True  # rule sugrm; code; paper: False

    c.optim = ConfigDict()
    c.optim.batch_size = 32
    c.optim.accumulate_batches = 4  # gradients summed per step; code, not the paper
    c.optim.step_every_batch = False  # besides, on the sum so far of its group
    c.optim.tail = "dropped"  # dropped | stepped: an epoch's incomplete last group
    c.optim.clip_norm = 0.0  # largest joint norm of all gradients of a step; 0: none
    c.optim.clip_value = 0.0  # largest entry of the sum, after every batch; 0: none
    # What happens to all rates: constant | linear (down to 0 at the end of max_epochs)
    # | plateau (times plateau_factor after more than plateau_patience epochs without a
    # better validation loss, as PyTorch's ReduceLROnPlateau).
    c.optim.schedule = "constant"
    c.optim.warmup_share = 0.0  # share of all steps in which rates rise from 0
    c.optim.plateau_patience = 20
    c.optim.plateau_factor = 0.1
    c.optim.groups = ConfigDict()
    c.optim.groups.bert = group(5e-5, 1e-3)
    c.optim.groups.bert_no_decay = group(5e-5, 0.0)  # biases and LayerNorm
    c.optim.groups.audio = group(1e-3, 1e-2)
    c.optim.groups.vision = group(1e-4, 1e-3)
    c.optim.groups.spt = group(5e-4, 1e-3)  # SUGRM's code; where there is an SPT
    c.optim.groups.other = group(1e-3, 1e-3)

    c.selection = ConfigDict()
    c.selection.early_stop = 8  # epochs without improvement; code, not the paper
    c.selection.max_epochs = 100  # the public code has no maximum
    c.selection.min_delta = 1e-6
    c.selection.valid_mean = "batches"  # batches (public code) | samples
    c.selection.round_decimals = placeholder(int)  # MMSA: 4

    c.mesh = ConfigDict()
    c.mesh.devices = 0  # 0: all there are
    c.mesh.data = 1  # devices that share one seed's batch
    # Divide the text encoder's matrices, moments and best copy over those devices, too.
    c.mesh.shard_text = False
    # Seeds of a device that step side by side with vmap, a divisor of their number; the
    # others wait. 0: as many as fit into its memory.
    c.mesh.seeds_at_once = 0
    c.mesh.over_seeds = "auto"  # vmap | map | auto: map on one CPU device, else vmap

    # A loss or gradient that is not finite ends its seed (stop; the others go on), is
    # left out with its optimiser step (skip), or ends the run (abort).
    c.on_nonfinite = "stop"  # stop | skip | abort

    # Of products: highest | high | default (fastest); bfloat16: default, and the text
    # encoder computes in bfloat16. Parameters, losses, labels and metrics are float32.
    c.precision = "highest"
    return c


def group(rate: float, decay: float) -> ConfigDict:
    """Return one Adam group: learning rate and coupled L2."""
    return ConfigDict({"rate": rate, "decay": decay})


def spt() -> ConfigDict:
    """Return the sparse phased transformer's fields, see layers.spt.Readings.

    Source: SUGRM's and SP-Transformer's code, MOSI. Its published setting lists the
        letters of input attention as one string, which matches no letter: no shift.
    """
    c = ConfigDict()
    c.embed = 32
    c.heads = 8  # MOSEI: 4
    c.rounds = 4
    c.stride = 5  # input steps per hidden step
    c.input_radius = 8  # windows hold 2 radius + 1 keys
    c.cross_radius = 4
    c.self_radius = 3
    c.input_letters = ""  # any of S, P, R; meant: SPR
    c.cross_letters = "S"
    c.self_letters = "S"
    c.step_shift = 1  # of letter S
    c.phase_rate = 0.25  # of letter P
    c.random_share = 0.05  # of letter R
    c.attention_dropout = 0.0  # paper, Table 7: .3, but the code never applies it
    c.relu_dropout = 0.3
    c.residual_dropout = 0.3
    c.embed_dropout = 0.3
    c.dense = False  # masks over all keys instead of windows; no shifts
    c.respect_lengths = False  # windows and final state end at true lengths
    return c
