//! Events that the target refuses for good, kept aside: one JSON line each, durable before the cursor passes them.
use crate::core::engine::replay::Replayed;
use crate::sink::name::REFUSED;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Appends lines to the shard's file and syncs it. A line cut short by an earlier failure is ended first.
///
/// # Errors
/// As the system gives them; what of the lines is in the file then may be there twice after the next try.
pub fn keep(folder: &Path, lines: &[u8]) -> io::Result<()> {
    let path = folder.join(REFUSED);
    let new = !path.exists();
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let before = file.metadata()?.len();
    let written = file.write_all(lines).and_then(|()| file.sync_all());
    if written.is_err() {
        // As if it had not been tried: half a line would spoil the next.
        let _ = file.set_len(before);
    }
    written?;
    if new { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// The line of one event: where it was, why it is refused, and the event itself as it was stored.
pub fn line(event: &Replayed<'_>, target: &str, why: &str) -> Vec<u8> {
    let Replayed { shard, seq, stream, value, time_ms, .. } = *event;
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut line = format!(
        "{{\"shard\":{shard},\"seq\":{seq},\"stream\":\"{stream}\",\"time_ms\":{time_ms},\"target\":{},\"reason\":{},\
         \"event\":",
        quoted(target),
        quoted(why)
    )
    .into_bytes();
    line.extend_from_slice(value);
    line.extend_from_slice(b"}\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::segment::StreamName;

    #[test]
    fn lines_are_json_and_are_appended() {
        let dir = std::env::temp_dir().join(format!("ringmill-aside-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let stream = StreamName::new(b"logs").unwrap();
        let value = br#"{"a" : [1, "\u00e9"]}"#;
        let event = Replayed { shard: 2, seq: 9, stream: &stream, key: None, value, time_ms: 5 };
        let line = line(&event, "kafka:a:1/t", "says \"no\"");
        keep(&dir, &line).unwrap();
        keep(&dir, &line).unwrap();
        let text = std::fs::read_to_string(dir.join(REFUSED)).unwrap();
        assert_eq!(text.lines().count(), 2);
        for line in text.lines() {
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(json["event"]["a"][1], "é");
            assert_eq!((&json["seq"], &json["stream"]), (&9.into(), &"logs".into()));
            assert_eq!(json["reason"], "says \"no\"");
            assert!(line.contains(r#""event":{"a" : [1, "\u00e9"]}"#), "as it was stored: {line}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(keep(&dir, &line).is_err());
    }
}
