"""The two secret constants of seed 000, and every key that is made of them.

keys   pairs of constants, their subkeys per purpose, the keyring
file   where a node keeps them, and how an operator changes them
"""

from sendback.secret_constants.file import KeyRow, SecretConstantsFile
from sendback.secret_constants.keys import Key, Keyring, Purpose, read_constant

__all__ = ["Key", "KeyRow", "Keyring", "Purpose", "SecretConstantsFile", "read_constant"]
