from django.apps import AppConfig


class PriceChangesConfig(AppConfig):
    name = "price_changes"
    verbose_name = "Price changes"

    def ready(self) -> None:
        from price_changes.planning import pending
        from price_changes.running import moving, starting
        from price_changes.showing import explaining
        from services import ledger, repricing
        from services.models import Repricing
        from services.reading import filters

        repricing.MOVERS[Repricing.Kind.ROWS] = moving.move_rows
        repricing.NEXT_ROW[Repricing.Kind.ROWS] = moving.next_row
        repricing.START_DUE.append(starting.start_due)
        ledger.DESCRIBE_CHANGE.append(explaining.describe)
        ledger.PENDING_CHANGES.append(explaining.pending)
        filters.MOVED_BY_SCHEDULED.append(pending.moved_by)
