//! What an update keeps of a file beside its bytes, what it leaves, and contents of any kind and size.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{XattrFlags, getxattr, setxattr};
use serde_json::json;
use trued_doors::Asked;
use trued_model::Address;

use super::ground::{Ground, Thing, file, things};

/// An ACL (acl(5)) that lets one more user read, in the kernel's form: version 2, then tag, permissions and id of each entry.
fn acl(user: u32) -> Vec<u8> {
    let entry = |tag: u16, permissions: u16, id: u32| [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat();
    let nobody = u32::MAX;
    let entries = [entry(1, 6, nobody), entry(2, 4, user), entry(4, 4, nobody), entry(16, 4, nobody), entry(32, 0, nobody)];
    [2_u32.to_le_bytes().to_vec(), entries.concat()].concat()
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 4096];
    let length = getxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

const ACL: &str = "system.posix_acl_access";

#[test]
fn an_update_keeps_the_acl_and_the_attributes_of_users() {
    let ground = Ground::new();
    ground.begin(&things([("a", file("1"))]));
    let path = ground.path("a");
    setxattr(&path, "user.note", b"by hand", XattrFlags::empty()).expect("a file system with attributes");
    setxattr(&path, ACL, &acl(12345), XattrFlags::empty()).expect("a file system with ACLs");
    let root = rustix::process::geteuid().is_root();
    // cap_net_bind_service in the form of capabilities(7), version 2.
    let capability = [0x0200_0001_u32, 1 << 10, 0, 0, 0].map(u32::to_le_bytes).concat();
    if root {
        setxattr(&path, "security.capability", &capability, XattrFlags::empty()).expect("a capability");
    }
    let mode = path.metadata().unwrap().mode();
    let tree = ground.tree();
    assert_eq!(ground.plan(&tree, &Default::default(), &things([("a", file("1"))])), [], "they are no drift");
    ground.bring(&tree, &Default::default(), &things([("a", file("2"))]));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "2");
    assert_eq!(attribute(&path, "user.note").as_deref(), Some(&b"by hand"[..]));
    assert_eq!(attribute(&path, ACL), Some(acl(12345)));
    assert_eq!(path.metadata().unwrap().mode(), mode);
    assert_eq!(attribute(&path, "security.capability"), None, "it was granted to other bytes");
}

#[test]
fn where_a_rule_says_the_mode_no_acl_is_carried_over_and_one_that_gives_more_is_drift() {
    let mut ground = Ground::new();
    ground.rule(json!({ "a": "0600" }));
    let wanted = things([("a", file("1"))]);
    ground.begin(&wanted);
    let path = ground.path("a");
    setxattr(&path, "user.note", b"by hand", XattrFlags::empty()).expect("a file system with attributes");
    setxattr(&path, ACL, &acl(12345), XattrFlags::empty()).expect("a file system with ACLs");
    let tree = ground.tree();
    assert_eq!(ground.plan(&tree, &Default::default(), &wanted).len(), 1, "its mask shows in the mode");
    ground.bring(&tree, &Default::default(), &wanted);
    assert_eq!(attribute(&path, ACL), None);
    assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
    assert_eq!(attribute(&path, "user.note").as_deref(), Some(&b"by hand"[..]));
}

#[test]
fn any_bytes_arrive_and_long_runs_of_zeros_become_holes() {
    let ground = Ground::new();
    const MIB: usize = 1 << 20;
    let mut bytes = vec![0; 16 * MIB + 3];
    bytes[..256].copy_from_slice(&(0..=255).collect::<Vec<u8>>());
    bytes[7 * MIB + 5] = 1;
    let zeros = vec![0; 4 * MIB];
    let wanted = things([("sparse", Thing::File(bytes.clone(), false)), ("zeros", Thing::File(zeros.clone(), true)), ("none", file(""))]);
    ground.begin(&wanted);
    assert_eq!(std::fs::read(ground.path("sparse")).unwrap(), bytes);
    assert_eq!(std::fs::read(ground.path("zeros")).unwrap(), zeros);
    assert_eq!(std::fs::read(ground.path("none")).unwrap(), b"");
    let occupied = |name: &str| ground.path(name).metadata().unwrap().blocks() * 512;
    assert!(occupied("sparse") <= 512 * 1024, "{} bytes on disk", occupied("sparse"));
    assert!(occupied("zeros") <= 64 * 1024, "{} bytes on disk", occupied("zeros"));
    let tree = ground.tree();
    assert_eq!(ground.plan(&tree, &Default::default(), &wanted), [], "the second plan is empty");
    let kept = crate::keep::keep(&tree, &Asked::new(Address::new("sparse"), false)).unwrap().content.unwrap();
    assert_eq!(trued_doors::Blobs::get(&*ground.blobs, &kept.digest).unwrap(), bytes);
}
