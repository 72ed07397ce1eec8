//! Which noun answers for which channel and which command: the hub knows no noun, this table does.
