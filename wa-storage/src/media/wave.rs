//! WAVE: chunks of `fmt ` and `data` in a RIFF file. Lengths that lie are cut to what the file holds.

use std::io::{Read, Seek, SeekFrom};

use wa_core::media::Format;

use super::Refusal;
use super::detect::{Finding, duration};

/// More chunks than any recorder writes before its samples.
const CHUNKS: usize = 256;

pub(super) fn examine(file: &mut (impl Read + Seek), total: u64) -> Result<Finding, Refusal> {
    let mut position = 12;
    let mut bytes_per_second = None;
    for _ in 0..CHUNKS {
        let mut header = [0; 8];
        file.seek(SeekFrom::Start(position))?;
        file.read_exact(&mut header)?;
        let announced = u64::from(u32::from_le_bytes([header[4], header[5], header[6], header[7]]));
        position += 8;
        match &header[..4] {
            b"fmt " => bytes_per_second = Some(format(file, announced)?),
            b"data" => {
                let Some(rate) = bytes_per_second else { return Err(Refusal::broken("WAVE file")) };
                // Recorders that could not go back leave zero or the greatest number.
                let held = total.saturating_sub(position);
                let length = if announced == 0 { held } else { announced.min(held) };
                if length == 0 {
                    return Err(Refusal::cut());
                }
                return Ok(Finding { duration_ms: duration(length, rate), ..Format::Wav.into() });
            }
            _ => {}
        }
        position = position.saturating_add(announced + announced % 2);
    }
    Err(Refusal::broken("WAVE file"))
}

/// Bytes of samples per second.
fn format(file: &mut (impl Read + Seek), announced: u64) -> Result<u64, Refusal> {
    let mut fields = [0; 16];
    if announced < fields.len() as u64 {
        return Err(Refusal::broken("WAVE file"));
    }
    file.read_exact(&mut fields)?;
    let channels = u16::from_le_bytes([fields[2], fields[3]]);
    let rate = u32::from_le_bytes([fields[4], fields[5], fields[6], fields[7]]);
    let bytes_per_second = u32::from_le_bytes([fields[8], fields[9], fields[10], fields[11]]);
    if channels == 0 || channels > 64 || rate == 0 || bytes_per_second == 0 {
        return Err(Refusal::broken("WAVE file"));
    }
    Ok(u64::from(bytes_per_second))
}
