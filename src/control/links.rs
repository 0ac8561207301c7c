//! Signed links: `…/uploads/ID?expires=MS&signature=BASE64URL` and the same for artifacts.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::UnixMs;
use crate::domain::signing::SigningKey;

/// What a link opens. The word is part of the path and of what is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    /// PUT an artifact, once.
    Upload,
    /// GET an artifact.
    Artifact,
}

impl LinkKind {
    /// The first segment of the path.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Upload => "uploads",
            Self::Artifact => "artifacts",
        }
    }
}

/// Makes and checks signed links below one public URL.
#[derive(Debug, Clone)]
pub struct Links {
    key: SigningKey,
    /// Without a trailing slash; none where nothing listens on HTTP, as over stdio.
    base: Option<String>,
}

impl Links {
    /// Links below `base`.
    pub fn new(key: SigningKey, base: Option<String>) -> Self {
        Self {
            key,
            base: base.map(|url| url.trim_end_matches('/').to_owned()),
        }
    }

    /// What links begin with.
    pub(super) fn base(&self) -> Option<&str> {
        self.base.as_deref()
    }

    /// A link that works until `expires`; none where there is no public URL.
    pub fn make(&self, kind: LinkKind, id: &str, expires: UnixMs) -> Option<String> {
        let base = self.base.as_ref()?;
        let tag = self.key.sign(kind.path(), message(id, expires.0).as_bytes());
        let (path, expires, tag) = (kind.path(), expires.0, URL_SAFE_NO_PAD.encode(tag));
        Some(format!("{base}/{path}/{id}?expires={expires}&signature={tag}"))
    }

    /// Whether the parts of a link were signed here and still hold at `now`.
    pub fn check(&self, kind: LinkKind, link: &LinkParts<'_>, now: UnixMs) -> bool {
        let Ok(tag) = URL_SAFE_NO_PAD.decode(link.signature) else {
            return false;
        };
        let signed = self
            .key
            .verify(kind.path(), message(link.id, link.expires).as_bytes(), &tag);
        signed && now.0 < link.expires
    }
}

/// A link as it arrived.
#[derive(Debug, Clone, Copy)]
pub struct LinkParts<'a> {
    /// What it opens.
    pub id: &'a str,
    /// Until when, in milliseconds since 1970.
    pub expires: i64,
    /// In base64url.
    pub signature: &'a str,
}

fn message(id: &str, expires: i64) -> String {
    format!("{id}\n{expires}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_opens_one_thing_until_it_expires() {
        let links = Links::new(SigningKey::from_bytes([7; 32]), Some("https://c/".into()));
        let url = links.make(LinkKind::Upload, "u1", UnixMs(100)).expect("a link");
        let signature = url.split("signature=").nth(1).expect("signed");
        assert!(url.starts_with("https://c/uploads/u1?expires=100&"));
        let parts = LinkParts {
            id: "u1",
            expires: 100,
            signature,
        };
        assert!(links.check(LinkKind::Upload, &parts, UnixMs(99)));
        assert!(!links.check(LinkKind::Upload, &parts, UnixMs(100)), "expired");
        assert!(!links.check(LinkKind::Artifact, &parts, UnixMs(99)), "another kind");
        let forged = [
            LinkParts { id: "u2", ..parts },
            LinkParts { expires: 101, ..parts },
            LinkParts {
                signature: "!!",
                ..parts
            },
        ];
        for parts in forged {
            assert!(!links.check(LinkKind::Upload, &parts, UnixMs(99)), "{parts:?}");
        }
    }
}
