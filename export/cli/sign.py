"""edge-sign: keys and signatures. `edge-sign NAME.edge --key FILE` is short for `edge-sign sign NAME.edge ...`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from edge.cli.base import main_of, stage
from export.sign import generate_keys, sign_bundle, verify_bundle

BundlePath = Annotated[Path, typer.Argument(metavar="NAME.edge", help="the bundle")]


class _SignByDefault(TyperGroup):
    """Lets `edge-sign NAME.edge` mean `edge-sign sign NAME.edge`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if any(a.endswith(".edge") for a in args) and not set(args) & set(self.commands):
            args = ["sign", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_SignByDefault,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Make keys, sign bundles, check signatures (Ed25519).",
)


@app.command()
def keygen(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="folder for signing.key and signing.pub")],
) -> None:
    """Make a new pair of keys. Keep signing.key here; give signing.pub to the stations."""
    start = time.monotonic()
    pair = generate_keys(folder)
    stage("keygen", time.monotonic() - start, f"{pair.private} (mode 0600) and {pair.public}, key {pair.name}")
    print(f"next: edge-sign NAME.edge --key {pair.private}")


@app.command()
def sign(
    bundle: BundlePath,
    key: Annotated[Path, typer.Option(envvar="EDGE_SIGNING_KEY", help="private key file (mode 0600)")],
    counter: Annotated[
        int | None, typer.Option(min=0, help="rollback counter: stations refuse bundles with a lower one ever after")
    ] = None,
) -> None:
    """Sign a bundle in place."""
    start = time.monotonic()
    signed = sign_bundle(bundle, key, counter)
    told = f"{bundle} signed, {bundle.stat().st_size / 1e6:.1f} MB, counter {signed.manifest.rollback_counter}"
    stage("sign", time.monotonic() - start, told, f"edge-flash USER@HOST {bundle}")


@app.command()
def verify(
    bundle: BundlePath,
    public_key: Annotated[Path, typer.Option(envvar="EDGE_PUBLIC_KEY", help="public key file, signing.pub")],
    counter: Annotated[int, typer.Option(min=0, help="lowest rollback counter to accept")] = 0,
) -> None:
    """Check signature, counter and every member as a station does."""
    start = time.monotonic()
    good = verify_bundle(bundle, public_key, counter)
    members = len(good.manifest.members)
    stage("verify", time.monotonic() - start, f"{bundle} is whole and signed, {members} members")


main = main_of(app)
