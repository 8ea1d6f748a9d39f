//! Memory while a film of many scenes is put together.
