"""The papers' own figures (AUROC), column by column, to print beside ours. None: the paper does not say."""

from __future__ import annotations

DIGITS = tuple(str(n) for n in range(10))
KNOWN = tuple(f"0, known {n}" for n in (1, 3, 5, 7, 9))
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

Column = dict[str, float]


def _column(rows: tuple[str, ...], values: str) -> Column:
    return dict(zip(rows, (float(value) for value in values.split()), strict=True))


# ADDA, table of noisy MNIST, self-supervised.
NOISY_MNIST: dict[str, Column] = {
    "AnoVAE": _column(DIGITS, ".63 .83 .54 .57 .62 .67 .61 .69 .55 .70"),
    "AnoVAEGAN": _column(DIGITS, ".71 .86 .60 .65 .68 .66 .70 .73 .64 .70"),
    "D only": _column(DIGITS, ".55 .70 .54 .52 .53 .51 .57 .59 .57 .56"),
    "CAM only": _column(DIGITS, ".74 .92 .62 .68 .69 .69 .73 .78 .66 .74"),
    "CAM+D": _column(DIGITS, ".74 .92 .62 .68 .68 .69 .73 .77 .67 .74"),
}
# ADDA, one known anomaly digit.
NOISY_MNIST_SEMI: dict[str, Column] = {
    "CNN regression": _column(KNOWN, ".90 .94 .95 .93 .94"),
    "CAM_ano only": _column(KNOWN, ".78 .77 .75 .77 .77"),
    "CAM+D_G+D_ano": _column(KNOWN, ".93 .94 .95 .95 .95"),
}
# SPADER, one known anomaly digit.
NOISY_MNIST_SPADER: dict[str, Column] = {
    "VAE": _column(KNOWN, ".63 .63 .63 .63 .63"),
    "SPADE": _column(KNOWN, ".85 .87 .92 .86 .90"),
    "CNN-Reg": _column(KNOWN, ".73 .88 .96 .88 .96"),
    "VAE+CNN-Reg": _column(KNOWN, ".73 .81 .87 .85 .89"),
    "SPADE, l2": _column(KNOWN, ".85 .87 .92 .86 .90"),
    "SPADER": _column(KNOWN, ".94 .92 .97 .95 .96"),
    "SPADER, l2": _column(KNOWN, ".94 .92 .97 .95 .96"),
    "SPADER, 5 passes": _column(KNOWN, ".94 .92 .97 .95 .96"),
}
# CAVGA, one-class; for other methods the papers give means only.
ONE_CLASS_MNIST: dict[str, Column] = {
    "cavga-d": _column(DIGITS, ".994 .997 .989 .983 .977 .968 .988 .986 .988 .991"),
}
ONE_CLASS_CIFAR: dict[str, Column] = {
    "cavga-d": _column(CIFAR, ".653 .784 .761 .747 .775 .552 .813 .745 .801 .741"),
}
# SAGAN, leave one out. Very probably evaluated with batch norm in training mode on class-pure batches, best test
# epoch: not to be had by an honest protocol.
LEAVE_ONE_OUT: dict[str, Column] = {
    name: dict(zip(("frog", "bird", "cat", "deer", "dog", "horse", "ship", "truck"), values, strict=True))
    for name, values in {
        "egbad": (0.512, 0.523, 0.466, 0.467, 0.502, 0.387, 0.534, 0.579),
        "ganomaly": (0.777, 0.552, 0.647, 0.684, 0.815, 0.683, 0.818, 0.844),
        "skip-ganomaly": (0.955, 0.611, 0.670, 0.845, 0.706, 0.666, 0.909, 0.857),
        "sagan": (0.996, 0.957, 0.951, 0.998, 0.975, 0.891, 0.990, 0.980),
    }.items()
}
