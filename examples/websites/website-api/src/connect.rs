//! How a client of websites finds its cluster.

use kube::Config;
use kube::config::InferConfigError;

/// The cluster that kubectl would use, or the one whose pod this is.
///
/// kube takes a proxy of the environment for the way to every cluster, whatever `NO_PROXY` says.
/// Such a proxy is the way to the internet; one that is meant for a cluster is in its kubeconfig.
///
/// # Errors
/// There is no cluster to be found.
pub async fn config() -> Result<Config, InferConfigError> {
    let names = ["HTTPS_PROXY", "https_proxy"];
    let proxies: Vec<String> = names
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .collect();
    Ok(without(Config::infer().await?, &proxies))
}

fn without(mut config: Config, proxies: &[String]) -> Config {
    config
        .proxy_url
        .take_if(|url| proxies.iter().any(|proxy| *url == *proxy.as_str()));
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_of_the_environment_is_not_the_way_to_a_cluster() {
        let proxies = [
            "http://proxy.example.org:3128".to_owned(),
            "no address".to_owned(),
        ];
        let through = |proxy: &str| {
            let mut config = Config::new("https://10.0.0.1:6443".parse().unwrap());
            config.proxy_url = Some(proxy.parse().unwrap());
            without(config, &proxies).proxy_url
        };
        assert_eq!(through("http://proxy.example.org:3128"), None);
        let own = "http://bastion.example.org:3128";
        assert_eq!(through(own), Some(own.parse().unwrap()));
    }
}
