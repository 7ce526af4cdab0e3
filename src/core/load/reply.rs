//! Parser of replies on the client side.
