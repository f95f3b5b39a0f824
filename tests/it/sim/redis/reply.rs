//! What goes over the wire, by RESP2.

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Status(&'static str),
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Reply>),
}

impl Reply {
    pub fn text(text: &impl ToString) -> Self {
        Self::Bulk(text.to_string().into_bytes())
    }

    pub fn maybe(bytes: Option<Vec<u8>>) -> Self {
        bytes.map_or(Self::Null, Self::Bulk)
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Status(text) => line(out, b'+', text),
            Self::Error(text) => line(out, b'-', text),
            Self::Int(number) => line(out, b':', &number.to_string()),
            Self::Null => line(out, b'$', "-1"),
            Self::Bulk(bytes) => {
                line(out, b'$', &bytes.len().to_string());
                out.extend_from_slice(bytes);
                out.extend_from_slice(b"\r\n");
            }
            Self::Array(items) => {
                line(out, b'*', &items.len().to_string());
                for item in items {
                    item.write(out);
                }
            }
        }
    }
}

fn line(out: &mut Vec<u8>, kind: u8, text: &str) {
    out.push(kind);
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The commands in a request.
pub fn commands(mut request: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut commands = Vec::new();
    while !request.is_empty() {
        let count = number(&mut request, b'*');
        let argument = |request: &mut &[u8]| {
            let length = number(request, b'$');
            let (bytes, rest) = request.split_at(length);
            *request = &rest[2..];
            bytes.to_vec()
        };
        commands.push((0..count).map(|_| argument(&mut request)).collect());
    }
    commands
}

fn number(request: &mut &[u8], kind: u8) -> usize {
    assert_eq!(request[0], kind, "a request is an array of texts");
    let end = request.iter().position(|byte| *byte == b'\r').unwrap();
    let digits = std::str::from_utf8(&request[1..end]).unwrap();
    *request = &request[end + 2..];
    digits.parse().unwrap()
}
