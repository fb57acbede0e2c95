"""``qtkit alerts test``: whether what the desk would tell arrives."""

import typer

alerts = typer.Typer(help="Who is told what happens.", no_args_is_help=True, rich_markup_mode=None)


@alerts.command("test")
def alerts_test() -> None:
    """Send one test alert to every target of alerts.urls, and ask the heartbeat URL once. Exit status 1 if anything does not arrive.

    Examples: `qtkit alerts test`, `QTKIT_ALERTS__URLS="ntfy://my-topic" qtkit alerts test`
    """
    from qtkit import logs
    from qtkit.alerts import Delivery, Kind, tell
    from qtkit.core.model import PolicyError
    from qtkit.messenger import ask
    from qtkit.settings import Paths, Settings

    logs.quiet()
    settings = Settings.load(Paths.here().home)
    url = settings.alerts.heartbeat_url
    if not settings.alerts.urls and url is None:
        raise PolicyError("no target is set; put apprise URLs into alerts.urls of qtkit.toml, or into QTKIT_ALERTS__URLS")
    done = tell(Kind.TEST, "qtkit alerts test", "this is how the desk's alerts arrive; nothing has happened", settings=settings)
    if url is not None:
        why = ask(url)
        done += (Delivery(target="alerts.heartbeat_url", delivered=not why, why=why),)
    for delivery in done:
        print(f"{delivery.target}: {'delivered' if delivery.delivered else f'not delivered, {delivery.why}'}")
    raise typer.Exit(0 if all(delivery.delivered for delivery in done) else 1)
