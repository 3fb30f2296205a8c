use std::{collections::BTreeMap, path::Path, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use replay::{Digest, Error, ErrorKind, Frame, Outline, Payload, Result, SagaId, SnapshotRecord, Store, json, storage::At};
use serde::Deserialize;
use serde_json::json;

use super::input;
use crate::{app::App, args::ImportArgs, exit::Exit, output::Answer};

/// How many records are appended at once, and how many bytes of them.
const CHUNK: usize = 200;
const CHUNK_BYTES: u64 = 4 << 20;

/// One line of an export, as far as an import needs it.
#[derive(Deserialize)]
#[serde(tag = "schema")]
enum Line {
    #[serde(rename = "replay.export.blob/v1")]
    Blob { digest: Digest, bytes: String },
    #[serde(rename = "replay.export.snapshot/v1")]
    Snapshot { snapshot: Readable, record: String },
}

#[derive(Deserialize)]
struct Readable {
    digest: Digest,
}

/// Everything that a file holds, checked.
#[derive(Default)]
struct Content {
    blobs: Vec<(Digest, Bytes)>,
    histories: BTreeMap<SagaId, Vec<SnapshotRecord>>,
}

pub(super) async fn run(app: &App, args: ImportArgs) -> Result<Exit> {
    let bytes = if args.file == Path::new("-") { input::stdin()? } else { input::file(&args.file)? };
    let content = read(&bytes, &args.file.display().to_string())?;
    if content.histories.is_empty() {
        return Err(Error::invalid("import", "the file holds no snapshot").hint("import what `export` wrote"));
    }
    let store = app.store_or_new().await?;
    for (id, records) in &content.histories {
        check_target(&store, id, records).await?;
    }
    // What a history refers to may become a definition, whose commands then run, so none of it is taken over without trust.
    if args.trust_definition {
        for (digest, bytes) in content.blobs {
            let stored = store.blobs()?.put_blob(bytes).await?;
            debug_assert_eq!(stored, digest, "read() checked it");
        }
    } else if !content.blobs.is_empty() {
        app.output.note("without the definitions: give resume and run a --file, or import with --trust-definition");
    }
    let ids: Vec<SagaId> = content.histories.keys().cloned().collect();
    let mut count = 0;
    for records in content.histories.into_values() {
        count += records.len();
        let mut records = records.into_iter().peekable();
        while records.peek().is_some() {
            store.snapshots().append(next_chunk(&mut records)).await?;
        }
    }
    let answer = Answer::one("imported", &json!({"sagas": ids, "snapshots": count}))?.ids(&ids);
    app.output.answer(answer.shown(move |paint| format!("{} imported {count} snapshots of {} sagas", paint.good("✔"), ids.len())))?;
    Ok(Exit::Ok)
}

/// What is to be appended next. It is taken out, so that what an append reads of frames goes with it.
fn next_chunk(records: &mut impl Iterator<Item = SnapshotRecord>) -> Vec<SnapshotRecord> {
    let (mut chunk, mut held) = (Vec::new(), 0);
    while chunk.len() < CHUNK && held < CHUNK_BYTES {
        let Some(record) = records.next() else { break };
        held += record.held_len(chunk.last());
        chunk.push(record);
    }
    chunk
}

fn read(bytes: &[u8], name: &str) -> Result<Content> {
    let mut content = Content::default();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let place = |error: Error| error.with("file", name).with("line", number);
        let line: Line = json::parse_as(line)
            .map_err(|error| place(Error::invalid("import", format!("{name}:{number} is no line of an export")).caused_by(error)))?;
        take(&mut content, line).map_err(place)?;
    }
    Ok(content)
}

fn take(content: &mut Content, line: Line) -> Result<()> {
    let wrong = |message: &str| Error::new(ErrorKind::Integrity, "import").message(message);
    let decode = |text: &str| BASE64_STANDARD.decode(text).map(Bytes::from).map_err(|error| wrong("a line is not base64").caused_by(error));
    match line {
        Line::Blob { digest, bytes } => {
            let bytes = decode(&bytes)?;
            if Digest::of(&bytes) != digest {
                return Err(wrong("a blob is not what was exported").with("digest", digest));
            }
            content.blobs.push((digest, bytes));
        }
        Line::Snapshot { snapshot, record } => {
            let record = SnapshotRecord::from_bytes(&decode(&record)?)?;
            record.clone().decode()?;
            if record.digest() != snapshot.digest {
                return Err(wrong("a record is not what its line says").with("snapshot", record.id()));
            }
            let history = content.histories.entry(record.saga_id.clone()).or_default();
            if let Some(last) = history.last()
                && (record.sequence != last.sequence + 1 || record.prev_digest != last.digest())
            {
                return Err(wrong("a snapshot does not follow the one before it").with("snapshot", record.id()));
            }
            let record = apart(&record, history.last())?;
            history.push(record);
        }
    }
    Ok(())
}

/// The same record without the bytes of its line and without what was read of its frame, sharing what it has in common with the record
/// before it: an export repeats frames and definitions in each line.
fn apart(record: &SnapshotRecord, before: Option<&SnapshotRecord>) -> Result<SnapshotRecord> {
    let outline = match before.map(|before| &before.outline) {
        Some(known) if known.fingerprint() == record.outline.fingerprint() => known.clone(),
        _ => Arc::new(Outline::from_bytes(Bytes::copy_from_slice(record.outline.as_bytes()))?),
    };
    let copy = |payload: &Payload| Payload { encoding: payload.encoding, bytes: Bytes::copy_from_slice(&payload.bytes) };
    let alone = SnapshotRecord::from_parts(outline, Bytes::copy_from_slice(record.header()), copy(record.payload()?))?;
    let Some(frame) = record.frame() else { return Ok(alone) };
    let known = before.and_then(SnapshotRecord::frame);
    let known = known.filter(|known| known.digest() == frame.digest() && known.payload() == frame.payload());
    Ok(alone.with_frame(match known {
        Some(known) => known.clone(),
        None => Arc::new(Frame::new(frame.digest(), copy(frame.payload()))?),
    }))
}

/// Refuses a history that the store has otherwise.
async fn check_target(store: &Store, id: &SagaId, records: &[SnapshotRecord]) -> Result<()> {
    let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(()) };
    let conflict = |message: &str| Error::new(ErrorKind::Conflict, "import").message(message).with("saga", id);
    let Some(head) = store.snapshots().load(id, At::Latest).await? else {
        if first.sequence > 1 {
            return Err(conflict("the beginning of its history was pruned before the export, so it cannot be told apart from a forgery")
                .hint("import it into the store that has its beginning")
                .with("first", first.sequence));
        }
        return Ok(());
    };
    let shared = head.sequence.min(last.sequence);
    let here = store.snapshots().load(id, At::Sequence(shared)).await?;
    let there = records.iter().find(|record| record.sequence == shared);
    match (here, there) {
        (Some(here), Some(there)) if here.digest() == there.digest() => Ok(()),
        (Some(_), Some(_)) => Err(conflict("the store has another history of this saga; nothing was imported").with("sequence", shared)),
        _ => Err(conflict("the store's history of this saga and the file's do not meet; nothing was imported").with("sequence", shared)),
    }
}

#[cfg(test)]
mod tests {
    use replay::{Compression, Encoder, OutlineStep, SnapshotMeta};

    use super::*;

    /// The lines of an export of `count` snapshots with a text of `len` bytes, of which only the end changes `every` so many.
    fn export(count: u64, len: usize, every: u64) -> Vec<u8> {
        let (encoder, mut prev, mut lines) = (Encoder::new(Compression::ZSTD), Digest::ZERO, String::new());
        let outline = Arc::new(Outline::new("order", "1", vec![OutlineStep::new("reserve", vec![])]).unwrap());
        for sequence in 1..=count {
            let mut meta = SnapshotMeta::new(SagaId::new("x").unwrap(), outline.clone(), sequence, "2026-01-01T00:00:00Z".parse().unwrap());
            meta.prev_digest = prev;
            let noise = |part| Digest::of(format!("{} {part}", sequence / every).as_bytes()).to_string();
            let noise: String = (0..len / 64).map(noise).collect();
            let record = SnapshotRecord::seal(meta, format!("{{\"noise\":\"{noise}\",\"n\":{sequence}}}").into());
            prev = record.digest();
            let encoded = encoder.encode(&record).unwrap();
            let record = SnapshotRecord::from_parts(outline.clone(), record.header().clone(), encoded.payload).unwrap();
            let record = BASE64_STANDARD.encode(record.with_frame(encoded.base.unwrap().frame).to_bytes().unwrap());
            let line = json!({"schema": "replay.export.snapshot/v1", "snapshot": {"digest": prev}, "record": record});
            lines += &line.to_string();
            lines.push('\n');
        }
        lines.into_bytes()
    }

    fn records(lines: &[u8]) -> Vec<SnapshotRecord> {
        read(lines, "x.jsonl").unwrap().histories.into_values().next().unwrap()
    }

    #[test]
    fn the_frame_of_many_lines_is_held_once() {
        let records = records(&export(20, 1000, u64::MAX));
        assert_eq!(records.len(), 20);
        let (frame, outline) = (records[0].frame().unwrap(), &records[0].outline);
        assert!(records.iter().all(|record| Arc::ptr_eq(record.frame().unwrap(), frame) && Arc::ptr_eq(&record.outline, outline)));
        assert!(records.into_iter().all(|record| record.decode().is_ok()));
    }

    #[test]
    fn large_frames_are_appended_a_few_at_a_time() {
        let mut records = records(&export(12, 600_000, 1)).into_iter();
        let first = next_chunk(&mut records);
        assert!((2..8).contains(&first.len()), "{}", first.len());
        assert_eq!(first.len() + records.len(), 12);
    }
}
