//! stub
#![allow(missing_docs)]
#[derive(Clone, Debug)]
pub struct Image { pub name: String, pub id: String, pub archive: std::path::PathBuf, pub config: ImageConfig }
#[derive(Clone, Debug)]
pub struct ImageConfig { pub entrypoint: Vec<String>, pub cmd: Vec<String>, pub env: Vec<String>, pub working_dir: String, pub user: String }
pub fn unpack_layer(a: &std::fs::File, r: &std::path::Path) -> std::io::Result<()> {
  use std::os::unix::fs::PermissionsExt;
  let mut a = a; let mut f = std::fs::File::create(r.join("actor"))?; std::io::copy(&mut a, &mut f)?; f.set_permissions(std::fs::Permissions::from_mode(0o755))?; Ok(()) }
