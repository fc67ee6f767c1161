//! Where the messages of a gRPC body begin and end.

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Follows a body, whose pieces fall anywhere.
#[derive(Default)]
pub(super) struct Framing {
    prefix: [u8; PREFIX],
    /// Bytes of the prefix that are there.
    known: usize,
    /// Bytes of the message that are still to come.
    left: usize,
    /// Bytes of the unfinished message that have come.
    unfinished: usize,
}

impl Framing {
    /// Takes the next piece; says whether a message ended in it.
    pub fn follow(&mut self, mut piece: &[u8]) -> bool {
        let mut ended = false;
        while !piece.is_empty() {
            if self.known < PREFIX {
                let (bytes, rest) = piece.split_at(piece.len().min(PREFIX - self.known));
                let slots = self.prefix.iter_mut().skip(self.known);
                slots.zip(bytes).for_each(|(slot, byte)| *slot = *byte);
                self.known += bytes.len();
                self.unfinished += bytes.len();
                piece = rest;
                if self.known < PREFIX {
                    break;
                }
                let [_, length @ ..] = self.prefix;
                self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            }
            let (bytes, rest) = piece.split_at(piece.len().min(self.left));
            self.left -= bytes.len();
            self.unfinished += bytes.len();
            piece = rest;
            if self.left == 0 {
                ended = true;
                self.known = 0;
                self.unfinished = 0;
            }
        }
        ended
    }

    /// Bytes of an unfinished message that have come.
    pub fn unfinished(&self) -> usize {
        self.unfinished
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u32) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(length.to_be_bytes());
        bytes.resize(PREFIX + length as usize, 7);
        bytes
    }

    #[test]
    fn messages_end_where_they_do_however_the_body_is_cut() {
        let body: Vec<u8> = [0, 3, 0, 300, 1].into_iter().flat_map(message).collect();
        let ends = [5, 13, 18, 323, 329];
        for step in 1..=body.len() {
            let mut framing = Framing::default();
            let mut at = 0;
            for piece in body.chunks(step) {
                let before = at;
                at += piece.len();
                let ended = ends.iter().any(|end| (before + 1..=at).contains(end));
                assert_eq!(framing.follow(piece), ended, "{before}..{at}");
                let last = ends.iter().filter(|end| **end <= at).max().unwrap_or(&0);
                assert_eq!(framing.unfinished(), at - last, "{before}..{at}");
            }
        }
    }

    #[test]
    fn a_length_of_4_gib_is_only_a_number() {
        let mut framing = Framing::default();
        assert!(!framing.follow(&[0, 255, 255, 255, 255, 1, 2, 3]));
        assert_eq!(framing.unfinished(), 8);
    }
}
