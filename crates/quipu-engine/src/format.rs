//! The bytes on disk: how each structure is laid out, and what makes its bytes wrong.

pub(crate) mod run;
