//! Bodies that are forms.

use super::server::Recorded;

/// The fields of a `multipart/form-data` body, in order; none where it is not one. What is not text is told by its length.
pub(crate) fn fields(request: &Recorded) -> Option<Vec<(String, String)>> {
    let boundary = request.header("content-type").strip_prefix("multipart/form-data; boundary=")?;
    // A letter for each byte, since files are no text.
    let body: String = request.body.iter().copied().map(char::from).collect();
    let parts = body.strip_prefix(&format!("--{boundary}\r\n"))?.strip_suffix(&format!("\r\n--{boundary}--\r\n"))?;
    let field = |part: &str| {
        let (head, value) = part.split_once("\r\n\r\n")?;
        let (name, _) = head.strip_prefix("Content-Disposition: form-data; name=\"")?.split_once('"')?;
        let bytes = value.chars().map(u8::try_from).collect::<Result<Vec<u8>, _>>().ok()?;
        let text = String::from_utf8(bytes).unwrap_or_else(|error| format!("({} bytes)", error.as_bytes().len()));
        Some((name.to_owned(), text))
    };
    parts.split(&format!("\r\n--{boundary}\r\n")).map(field).collect()
}
