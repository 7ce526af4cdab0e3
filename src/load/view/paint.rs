//! The few styles of what is drawn on terminals. Colour only repeats what a word or a character says already, and can
//! be left out.
use ratatui::style::{Color, Modifier, Style};

/// Whether there is colour, and what is made of it.
#[derive(Clone, Copy)]
pub(crate) struct Paint {
    pub(crate) colour: bool,
}

impl Paint {
    pub(crate) fn fg(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    pub(crate) fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(crate) fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// For what should not be.
    pub(crate) fn bad(self, is_bad: bool) -> Style {
        if is_bad { self.fg(Color::Red).add_modifier(Modifier::BOLD) } else { Style::new() }
    }

    /// For a count that should be 0.
    pub(crate) fn trouble(self, n: u64) -> Style {
        if n > 0 { self.bad(true) } else { self.dim() }
    }
}
