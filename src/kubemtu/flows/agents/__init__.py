"""The agents, as everything that needs them meets them: kept in view, asked, waited for."""
