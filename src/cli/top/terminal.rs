//! The terminal: a screen of its own, drawn over once a second, and keys.

use std::{
    env,
    fmt::Write as _,
    io::{self, IsTerminal, Read, Write},
    thread,
};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

use super::line::Line;

/// Another screen, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// What terminals are taken for that do not say their size.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// The terminal of this process, as it was found once this is dropped.
pub struct Terminal {
    found: Option<Termios>,
}

/// Whether standard output is a terminal that can be drawn on.
pub fn is_there() -> bool {
    io::stdout().is_terminal() && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether colours are welcome: see <https://no-color.org>.
pub fn takes_colours() -> bool {
    io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

impl Terminal {
    /// Takes the terminal over: keys come one by one and are not shown. Ctrl-C
    /// is a key like the others, so that the terminal is left in good order.
    pub fn take() -> io::Result<Self> {
        // Standard input may be something else; then there are no keys.
        let found = tcgetattr(io::stdin()).ok();
        if let Some(found) = &found {
            let mut modes = found.clone();
            modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
            tcsetattr(io::stdin(), OptionalActions::Now, &modes)?;
        }
        let terminal = Self { found };
        write(ENTER)?;
        Ok(terminal)
    }

    /// Columns and rows.
    pub fn size(&self) -> (usize, usize) {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                (size.ws_col.into(), size.ws_row.into())
            }
            _ => USUAL_SIZE,
        }
    }

    /// Draws these lines in place of what is there, all at once, so that nothing
    /// flickers.
    pub fn draw(&self, lines: &[Line]) -> io::Result<()> {
        let (width, height) = self.size();
        let mut frame = "\x1b[H".to_owned();
        for (at, line) in lines.iter().take(height).enumerate() {
            let next = if at == 0 { "" } else { "\n" };
            // Writing to memory does not fail. Each line ends by clearing what
            // is left of it, the last one by clearing what is below.
            let _ = write!(frame, "{next}{}\x1b[K", line.paint(width, takes_colours()));
        }
        write(&(frame + "\x1b[J"))
    }

    /// Keys, as they are pressed.
    pub fn keys(&self) -> mpsc::UnboundedReceiver<u8> {
        let (pressed, keys) = mpsc::unbounded_channel();
        if self.found.is_some() {
            // Reading cannot be given up; the thread ends with the process.
            thread::spawn(move || {
                let mut key = [0];
                while io::stdin().read_exact(&mut key).is_ok() && pressed.send(key[0]).is_ok() {}
            });
        }
        keys
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // There is nobody left to tell if this fails.
        let _ = write(LEAVE);
        if let Some(found) = &self.found {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, found);
        }
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
