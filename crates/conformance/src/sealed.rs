//! Records as the documentation describes them.

/// The checksum of a record, one bit at a time.
fn crc32(text: &str) -> u32 {
    let crc = text.bytes().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    });
    !crc
}

/// A record with these lines, as the documentation describes it.
pub fn sealed(lines: &str) -> String {
    let text = format!("{lines}checksum: {:08x}\n", crc32(lines));
    format!("{text:<1023}\n")
}

/// The lines of a record with this token and state.
pub fn lines(token: u64, state: &str) -> String {
    format!(
        "holdlock record 1\ntoken: {token}\nsince: 2026-01-02T03:04:05.000006Z 7.000008 0\n\
         pid: 1\nstate: {state}\n"
    )
}
