//! The sink as the engine and its edge see it.
