"""The version, stated once; setup.cfg and every manifest read it from here."""

VERSION = "0.1.0"
