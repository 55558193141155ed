//! The recovery kit: one page for paper (HTML, A4, nothing loaded, no script) and the same as text.
//!
//! It holds a secret: the recovery code, as words, as a line and as a QR code. Either file is also
//! what `--recovery-kit` reads. What it deliberately doesn't hold: credentials of storage.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use qrcode::{Color, EcLevel, QrCode};
use zeroize::Zeroizing;

use crate::base::display::text as visible;
use crate::codec::hash;

/// Modules of white around a QR code (ISO/IEC 18004).
const QUIET: usize = 4;
const WORDS_IN_A_ROW: usize = 4;

/// A place of the repository.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its URL, which carries no secret.
    pub url: String,
    /// Address of the S3 service, when it isn't the vendor's own.
    pub endpoint: Option<String>,
    /// Region of the bucket.
    pub region: Option<String>,
}

/// What is printed.
pub struct Kit<'a> {
    /// The repository's id.
    pub repository: String,
    /// The id of the slot that the code opens.
    pub slot: String,
    /// When it was made, for people.
    pub made: String,
    /// The program's version.
    pub version: &'static str,
    /// blake3 of `repo.fmt`.
    pub format_hash: String,
    /// The administrator's public key.
    pub admin: String,
    /// Where copies are.
    pub places: Vec<Place>,
    /// The 24 words.
    pub words: &'a [&'static str],
    /// The line `LIFEBOAT-RECOVERY-1...`.
    pub code: &'a str,
    /// `repo.fmt` and the slot's object, base64: with them and any packs the words are enough.
    pub objects: [(String, String); 2],
}

const WHAT: &str = "This page opens the backups of one Lifeboat repository, when everything else is lost: the machine, its \
                    configuration, its key file, its passphrase. Whoever has it and can read one of the targets reads every \
                    backup there. Keep it on paper, away from the machine and away from the targets, and nowhere else.";
const WHAT_ZH: &str = "本页是 Lifeboat 备份仓库的恢复凭证：机器、配置、密钥全部丢失时，凭本页和任一备份目标即可恢复数据。\
                       任何人持有本页并能读取备份目标，即可读取全部备份。请打印后离线保管，与机器和备份目标分开存放。";

impl Kit<'_> {
    fn steps(&self) -> [String; 4] {
        let place = self.places.first();
        let url = place.map_or("URL", |place| place.url.as_str());
        let endpoint = place.and_then(|place| place.endpoint.as_deref());
        let endpoint = endpoint.map(|endpoint| format!(" --endpoint {endpoint}")).unwrap_or_default();
        let at = format!("--repo {url}{endpoint} --recovery-kit words.txt");
        [
            format!(
                "Get lifeboat {} or newer on any Linux machine, and what the target asks for (a mounted disk, S3 credentials).",
                self.version
            ),
            "Write the 24 words into a file words.txt (mode 0600), or copy the kit's file. \
             The line below them is as good, and so is what the QR code says."
                .to_owned(),
            format!("lifeboat repo snapshots {at}"),
            format!("lifeboat repo restore {at} latest --to /srv/restored --verify"),
        ]
    }

    fn facts(&self) -> [(&'static str, String); 6] {
        [
            ("repository", self.repository.clone()),
            ("key slot", self.slot.clone()),
            ("made", format!("{} by lifeboat {}, stored format 1", self.made, self.version)),
            ("repo.fmt", format!("blake3 {}", self.format_hash)),
            ("administrator", self.admin.clone()),
            (
                "credentials",
                "not on this page. Who has those of the targets: ______________________".to_owned(),
            ),
        ]
    }

    /// The kit as text. Its last line but the end is the checksum of all before it.
    pub fn text(&self) -> Zeroizing<String> {
        let mut out = Zeroizing::new(String::with_capacity(16 * 1024));
        out.push_str("LIFEBOAT RECOVERY KIT\n\n");
        for text in [WHAT, WHAT_ZH] {
            out.push_str(text);
            out.push_str("\n\n");
        }
        for (name, value) in self.facts() {
            out.push_str(&format!("{name:<14}{value}\n"));
        }
        out.push_str("\nTARGETS\n");
        for place in &self.places {
            out.push_str(&format!("  {}\n", visible(&describe(place))));
        }
        out.push_str("\nTHE 24 WORDS\n");
        for (row, words) in self.words.chunks(WORDS_IN_A_ROW).enumerate() {
            for (at, word) in words.iter().enumerate() {
                out.push_str(&format!("  {:>2} {word:<10}", row * WORDS_IN_A_ROW + at + 1));
            }
            out.push('\n');
        }
        out.push_str(&format!("\nTHE SAME AS ONE LINE\n  {}\n\nTO RESTORE\n", self.code));
        for (number, step) in self.steps().iter().enumerate() {
            out.push_str(&format!("  {} {}\n", number + 1, visible(step)));
        }
        out.push_str(
            "\nFOR PROGRAMS (base64: with it the words open a target that has lost all of its key slots)\n",
        );
        for (name, bytes) in &self.objects {
            out.push_str(&format!("  {name} {bytes}\n"));
        }
        let checksum = short_hash(&out);
        out.push_str(&format!(
            "\nchecksum      {checksum} (the first 16 digits of blake3 of everything above this line)\n"
        ));
        out
    }

    /// The kit as one page.
    pub fn page(&self) -> Zeroizing<String> {
        let checksum = {
            let text = self.text();
            text.lines().last().and_then(|line| line.split_whitespace().nth(1)).unwrap_or_default().to_owned()
        };
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width";
                    title { "Recovery kit " (self.repository) }
                    style { (PreEscaped(CSS)) }
                }
                body {
                    h1 { "Lifeboat recovery kit" }
                    p { (WHAT) }
                    p lang="zh" { (WHAT_ZH) }
                    (self.secret())
                    table {
                        @for (name, value) in self.facts() { tr { th { (name) } td { (visible(&value)) } } }
                        @for place in &self.places { tr { th { "target" } td { (visible(&describe(place))) } } }
                        tr { th { "checksum" } td { (checksum) " (of the text file)" } }
                    }
                    h2 { "To restore" }
                    ol { @for step in self.steps() { li { (visible(&step)) } } }
                    @for (name, bytes) in &self.objects { p class="object" { (name) " " (bytes) } }
                }
            }
        };
        Zeroizing::new(page.into_string())
    }

    fn secret(&self) -> Markup {
        html! {
            div class="secret" {
                ol class="words" { @for word in self.words { li { (word) } } }
                (qr(self.code))
            }
            p class="line" { code { (self.code) } }
        }
    }
}

fn describe(place: &Place) -> String {
    let mut text = place.url.clone();
    for (name, value) in [("endpoint", &place.endpoint), ("region", &place.region)] {
        if let Some(value) = value {
            text.push_str(&format!("  {name} {value}"));
        }
    }
    text
}

fn short_hash(text: &str) -> String {
    hex::encode(&hash::plain(&[text.as_bytes()])[..8])
}

/// A QR code as one path. Capitals, digits and the hyphen take the compact mode.
fn qr(text: &str) -> Markup {
    let Ok(code) = QrCode::with_error_correction_level(text.as_bytes(), EcLevel::M) else {
        return html! {};
    };
    let (width, colors) = (code.width(), code.to_colors());
    let side = width + 2 * QUIET;
    let mut path = String::new();
    for (at, _) in colors.iter().enumerate().filter(|(_, color)| **color == Color::Dark) {
        path.push_str(&format!("M{} {}h1v1h-1z", at % width + QUIET, at / width + QUIET));
    }
    html! {
        svg class="qr" viewBox=(format!("0 0 {side} {side}")) role="img" aria-label="the recovery code" {
            rect width=(side) height=(side) fill="#fff" {}
            path d=(path) fill="#000" {}
        }
    }
}

const CSS: &str = "@page{size:A4;margin:16mm}body{font:11pt/1.4 system-ui,sans-serif;max-width:178mm;margin:0 auto;color:#000;\
background:#fff}h1{font-size:18pt;margin:0 0 3mm}h2{font-size:13pt;margin:5mm 0 2mm}p{margin:0 0 3mm}\
.secret{display:flex;gap:6mm;align-items:center;border:1.5pt solid #000;padding:4mm;break-inside:avoid}\
.words{columns:3;flex:1;margin:0;font:12pt/1.7 ui-monospace,monospace}.qr{width:46mm;height:46mm;flex:none}\
.line{margin-top:3mm;overflow-wrap:anywhere}code,td,ol:not(.words) li{font-family:ui-monospace,monospace;font-size:9.5pt;\
overflow-wrap:anywhere}table{border-collapse:collapse;width:100%}th{text-align:left;font-weight:600;vertical-align:top;\
white-space:nowrap;padding:.6mm 4mm .6mm 0;font-size:10pt}.object{font:6pt/1.2 ui-monospace,monospace;overflow-wrap:anywhere;\
margin:1mm 0}";
