//! [`manager::Manager`] as the run loop sees it.

use manager::{Input, Manager, Output};
use platform::{ManagerInput, ManagerOutput, ManagerProcess};

/// Runs the manager until it ends.
pub fn manager() -> ! {
    platform::run_manager(|| Process {
        manager: Manager::new(),
        said: Vec::new(),
    })
}

struct Process {
    manager: Manager,
    said: Vec<Output>,
}

impl ManagerProcess for Process {
    fn handle(&mut self, input: ManagerInput, out: &mut Vec<ManagerOutput>) {
        let input = match input {
            ManagerInput::Host(message) => Input::Host(message),
            ManagerInput::Platform(message) => Input::Platform(message),
            ManagerInput::Worker(worker, message) => Input::Worker(worker, message),
            ManagerInput::Flush => Input::Flush,
        };
        self.manager.handle(input, &mut self.said);
        out.extend(self.said.drain(..).map(|output| match output {
            Output::Host(message) => ManagerOutput::Host(message),
            Output::Platform(message) => ManagerOutput::Platform(message),
            Output::Worker(worker, message) => ManagerOutput::Worker(worker, message),
            Output::StopWorker(worker) => ManagerOutput::StopWorker(worker),
        }));
    }
}
