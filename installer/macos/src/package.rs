//! The product archive and its one component.

use anyhow::Result;
use cryprq_ipc_proto::apple::DAEMON_LABEL;

use crate::tree::Tree;
use crate::xar::{self, Member};
use crate::{bom, cpio, macho};

/// The component's name in the product.
const COMPONENT: &str = "daemon.pkg";

/// The package that installs `tree`.
///
/// # Errors
/// When it is more than the formats hold.
pub(crate) fn product(tree: &Tree, version: &str, date: u32) -> Result<Vec<u8>> {
    let component = vec![
        Member::File("PackageInfo", information(tree, version).into_bytes()),
        Member::File("Bom", bom::bill(tree, date)?),
        Member::File("Payload", cpio::archive(tree, date)?),
        Member::File("Scripts", cpio::archive(&scripts(version)?, date)?),
    ];
    let members =
        [Member::File("Distribution", distribution(tree, version).into_bytes()), Member::Folder(COMPONENT, component)];
    xar::archive(&members, date)
}

/// What the installer runs before and after it copies the payload.
fn scripts(version: &str) -> Result<Tree> {
    let mut tree = Tree::new();
    tree.file("/common.sh", 0o644, include_bytes!("../scripts/common.sh").to_vec())?;
    tree.file("/preinstall", 0o755, include_bytes!("../scripts/preinstall").to_vec())?;
    tree.file("/postinstall", 0o755, include_bytes!("../scripts/postinstall").to_vec())?;
    tree.file("/version", 0o644, format!("{version}\n").into_bytes())?;
    Ok(tree)
}

fn information(tree: &Tree, version: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
<pkg-info format-version="2" identifier="{DAEMON_LABEL}" version="{version}" install-location="/" auth="root" relocatable="false" overwrite-permissions="true" postinstall-action="none">
    <payload numberOfFiles="{}" installKBytes="{}"/>
    <scripts>
        <preinstall file="./preinstall"/>
        <postinstall file="./postinstall"/>
    </scripts>
</pkg-info>
"#,
        tree.len(),
        tree.kilobytes()
    )
}

fn distribution(tree: &Tree, version: &str) -> String {
    let (major, minor) = macho::OLDEST;
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
<installer-gui-script minSpecVersion="2">
    <title>CrypRQ</title>
    <options customize="never" require-scripts="true" rootVolumeOnly="true" hostArchitectures="arm64,x86_64"/>
    <domains enable_anywhere="false" enable_currentUserHome="false" enable_localSystem="true"/>
    <volume-check>
        <allowed-os-versions>
            <os-version min="{major}.{minor}"/>
        </allowed-os-versions>
    </volume-check>
    <choices-outline>
        <line choice="daemon"/>
    </choices-outline>
    <choice id="daemon" title="The daemon and its command line" visible="false">
        <pkg-ref id="{DAEMON_LABEL}"/>
    </choice>
    <pkg-ref id="{DAEMON_LABEL}" version="{version}" installKBytes="{}" onConclusion="none">#{COMPONENT}</pkg-ref>
    <product id="dev.cryprq" version="{version}"/>
</installer-gui-script>
"#,
        tree.kilobytes()
    )
}
